package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"tongban/node/client"
	"tongban/node/exit"
	"tongban/service"
	"tongban/service/identity"
)

// newCode is the answer to a new or reset account.
type newCode struct {
	Login  string          `json:"login"`
	Name   string          `json:"name"`
	Grants []service.Grant `json:"grants"`
	Code   string          `json:"code"`
	Until  string          `json:"until"`
}

func newAccount(a *app) *cobra.Command {
	return group("account", "Manage the accounts of staff", a.accountCreate(), a.accountList(),
		a.accountChange("disable", "End the sessions of an account and refuse it from now on"),
		a.accountChange("enable", "Let a disabled account sign in again"), a.accountReset())
}

func (a *app) accountCreate() *cobra.Command {
	var name string
	var grants []string
	cmd := &cobra.Command{
		Use:   "create LOGIN --name NAME --grant [TENANT:]ROLE",
		Short: "Create an account and print its activation code",
		Long: `Creates an account. Its owner opens /activate in the portal, enters the code printed
here (shown once), and chooses a password and an authenticator.

Roles of a department: tenant-admin, officer, auditor. Roles of the division (without a
department): division-admin, auditor.`,
		Example: "  tongban account create wang.fang --name 王芳 --grant minzheng:officer",
		Args:    exactArgs("the login"),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := parseGrants(grants)
			if err != nil {
				return err
			}
			if name == "" {
				return exit.Usagef("say who it is for: --name NAME")
			}
			return a.with(func(c *client.Client) error {
				var out newCode
				in := map[string]any{"login": args[0], "name": name, "grants": list}
				if err := c.Post(cmd.Context(), "/accounts", in, &out); err != nil {
					return err
				}
				return a.printCode(out)
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the person")
	cmd.Flags().StringArrayVar(&grants, "grant", nil, "TENANT:ROLE, or a ROLE of the division; may be repeated")
	return a.addJSON(a.addDir(cmd))
}

func parseGrants(texts []string) ([]service.Grant, error) {
	if len(texts) == 0 {
		return nil, exit.Usagef("say what the account may do: --grant TENANT:ROLE, or --grant ROLE for the division")
	}
	var list []service.Grant
	for _, text := range texts {
		tenant, role, found := strings.Cut(text, ":")
		if !found {
			tenant, role = "", text
		}
		list = append(list, service.Grant{Tenant: tenant, Role: service.Role(role)})
	}
	return list, nil
}

func (a *app) printCode(out newCode) error {
	if a.asJSON {
		return a.printJSON(out)
	}
	fmt.Fprintf(a.out, "Account %s (%s). Activation code, shown once, until %s:\n\n    %s\n\nIts owner opens /activate in the portal.\n",
		out.Login, clean(out.Name), out.Until, a.paint(bold, out.Code))
	return nil
}

func (a *app) accountList() *cobra.Command {
	var text string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the accounts",
		Example: "  tongban account list --search wang",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(func(c *client.Client) error {
				list, err := allAccounts(cmd.Context(), c, text)
				if err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(list)
				}
				t := table{head: []string{"LOGIN", "NAME", "STATE", "GRANTS"}}
				for _, one := range list {
					t.add(one.Login, clean(one.Name), one.State, grantText(one.Grants))
				}
				t.print(a.out)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&text, "search", "", "part of a login or name")
	return a.addJSON(a.addDir(cmd))
}

func allAccounts(ctx context.Context, c *client.Client, text string) ([]identity.Account, error) {
	list := []identity.Account{}
	for page := 1; ; page++ {
		var one identity.Listing
		q := url.Values{"q": {text}, "page": {fmt.Sprint(page)}}
		if err := c.Get(ctx, "/accounts?"+q.Encode(), &one); err != nil {
			return nil, err
		}
		list = append(list, one.Accounts...)
		if len(one.Accounts) == 0 || len(list) >= one.Total {
			return list, nil
		}
	}
}

func grantText(grants []service.Grant) string {
	var parts []string
	for _, g := range grants {
		text := string(g.Role)
		if g.Tenant != "" {
			text = g.Tenant + ":" + text
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

// accountPath is a path of the account with a login.
func accountPath(login, rest string) string {
	return "/accounts/" + url.PathEscape(strings.ToLower(strings.TrimSpace(login))) + rest
}

func (a *app) accountChange(what, short string) *cobra.Command {
	return a.addDir(&cobra.Command{
		Use:     what + " LOGIN",
		Short:   short,
		Example: "  tongban account " + what + " wang.fang",
		Args:    exactArgs("the login"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(func(c *client.Client) error {
				if err := c.Post(cmd.Context(), accountPath(args[0], "/"+what), struct{}{}, nil); err != nil {
					return err
				}
				fmt.Fprintf(a.out, "Account %s: %sd.\n", args[0], what)
				return nil
			})
		},
	})
}

func (a *app) accountReset() *cobra.Command {
	return a.addJSON(a.addDir(&cobra.Command{
		Use:     "reset LOGIN",
		Short:   "Take an account's password and authenticator away and print a new activation code",
		Example: "  tongban account reset wang.fang",
		Args:    exactArgs("the login"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(func(c *client.Client) error {
				var out newCode
				if err := c.Post(cmd.Context(), accountPath(args[0], "/reset"), struct{}{}, &out); err != nil {
					return err
				}
				return a.printCode(out)
			})
		},
	}))
}
