package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tongban/node/client"
	"tongban/node/exit"
	"tongban/service/databases"
	"tongban/tenancy"
)

func newDB(a *app) *cobra.Command {
	return group("db", "Create and list the application databases of departments, and their keys",
		a.dbCreate(), a.dbList(), group("key", "Create, list and revoke the keys of a database", a.dbKeyCreate(), a.dbKeyList(), a.dbKeyRevoke()))
}

func (a *app) dbCreate() *cobra.Command {
	var in databases.NewDatabases
	cmd := &cobra.Command{
		Use:   "create TENANT NAME",
		Short: "Create a database for programs of a department",
		Long: `Creates a database of a department's own, on all nodes. Programs reach it over HTTP, at the
address databases.listen of every node, with a key (tongban db key create).

With --count N, makes NAME1 to NAMEN; those that are there already stay as they are.`,
		Example: "  tongban db create minzheng notes --key\n  tongban db create minzheng load --count 100 --key --json",
		Args:    exactArgs("the department", "the name of the database"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Tenant, in.Name = args[0], args[1]
			return a.with(func(c *client.Client) error {
				out, err := createDatabases(cmd.Context(), c, in)
				if err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(out)
				}
				for _, k := range out.Keys {
					fmt.Fprintf(a.out, "%s  %s\n", k.Database, k.Secret)
				}
				if out.Waiting {
					fmt.Fprintln(a.err, "The databases are made, and some have no leader yet; see tongban status.")
					return nil
				}
				if len(out.Databases) == 1 {
					fmt.Fprintf(a.err, "Database %s is ready.\n", out.Databases[0])
				} else {
					fmt.Fprintf(a.err, "%d databases are ready.\n", len(out.Databases))
				}
				return nil
			})
		},
	}
	cmd.Flags().IntVar(&in.Count, "count", 0, "make so many, NAME1, NAME2 …")
	cmd.Flags().BoolVar(&in.Key, "key", false, "make a key that reads and writes, for each, and print it")
	return a.addJSON(a.addDir(cmd))
}

// createAgain is how often a part of many databases is asked for again: it is made, but was
// not ready in time.
const createAgain = 5

// createDatabases asks for databases, many of them in parts.
func createDatabases(ctx context.Context, c *client.Client, in databases.NewDatabases) (out databases.Created, err error) {
	for first, left := 1, in.Count; ; first, left = first+databases.MaxCount/2, left-databases.MaxCount/2 {
		part, got := in, databases.Created{}
		if in.Count > 0 {
			part.First, part.Count = first, min(left, databases.MaxCount/2)
		}
		for try := 0; ; try++ {
			err = c.Post(ctx, "/databases", part, &got)
			if err == nil || exit.Code(err) != exit.Temporary || in.Count == 0 || try == createAgain {
				break
			}
		}
		if err != nil {
			return out, err
		}
		out.Waiting = out.Waiting || got.Waiting
		out.Databases, out.Keys = append(out.Databases, got.Databases...), append(out.Keys, got.Keys...)
		if left <= databases.MaxCount/2 {
			return out, nil
		}
	}
}

func (a *app) dbList() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the application databases",
		Example: "  tongban db list --tenant minzheng",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(func(c *client.Client) error {
				var list []tenancy.Database
				if err := c.Get(cmd.Context(), "/databases?"+url.Values{"tenant": {tenant}}.Encode(), &list); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(list)
				}
				t := table{head: []string{"DATABASE", "CREATED"}}
				for _, d := range list {
					t.add(string(d.ID), d.Created.Local().Format(time.DateTime))
				}
				t.print(a.out)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "of one department only")
	return a.addJSON(a.addDir(cmd))
}

func (a *app) dbKeyCreate() *cobra.Command {
	var in databases.NewKey
	cmd := &cobra.Command{
		Use:   "create TENANT/NAME",
		Short: "Make a key of a database and print it, once",
		Long: `Makes a key. A program shows it as the password of HTTP basic authentication; the user is
the database, as TENANT.NAME.`,
		Example: "  tongban db key create minzheng/notes --read-only --name report",
		Args:    exactArgs("the database"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Database = args[0]
			return a.with(func(c *client.Client) error {
				var k databases.Key
				if err := c.Post(cmd.Context(), "/databases/keys", in, &k); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(k)
				}
				fmt.Fprintln(a.out, k.Secret)
				fmt.Fprintf(a.err, "Key %s of %s (%s). It is shown only here. User: %s\n", k.ID, k.Database, right(k),
					strings.Replace(string(k.Database), "/", ".", 1))
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&in.ReadOnly, "read-only", false, "it reads and changes nothing")
	cmd.Flags().StringVar(&in.Name, "name", "", "what it is for, to tell it from others")
	return a.addJSON(a.addDir(cmd))
}

func right(k databases.Key) string {
	if k.ReadOnly {
		return "read-only"
	}
	return "read-write"
}

func (a *app) dbKeyList() *cobra.Command {
	return a.addJSON(a.addDir(&cobra.Command{
		Use:     "list TENANT/NAME",
		Short:   "List the keys of a database",
		Example: "  tongban db key list minzheng/notes",
		Args:    exactArgs("the database"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(func(c *client.Client) error {
				var list []databases.Key
				if err := c.Get(cmd.Context(), "/databases/keys?"+url.Values{"database": {args[0]}}.Encode(), &list); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(list)
				}
				t := table{head: []string{"KEY", "RIGHT", "CREATED", "REVOKED", "NAME"}}
				for _, k := range list {
					revoked := "-"
					if k.Revoked != nil {
						revoked = k.Revoked.Local().Format(time.DateTime)
					}
					t.add(k.ID, right(k), k.Created.Local().Format(time.DateTime), revoked, clean(k.Name))
				}
				t.print(a.out)
				return nil
			})
		},
	}))
}

func (a *app) dbKeyRevoke() *cobra.Command {
	return a.addJSON(a.addDir(&cobra.Command{
		Use:     "revoke KEY",
		Short:   "Refuse a key from now on",
		Example: "  tongban db key revoke 3f9a1c20b7d4",
		Args:    exactArgs("the key's identifier (see tongban db key list)"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(func(c *client.Client) error {
				var k databases.Key
				if err := c.Post(cmd.Context(), "/databases/keys/"+url.PathEscape(args[0])+"/revoke", struct{}{}, &k); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(k)
				}
				fmt.Fprintf(a.out, "Key %s of %s is revoked.\n", k.ID, k.Database)
				return nil
			})
		},
	}))
}
