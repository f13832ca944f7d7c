package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tongban/node/client"
	"tongban/node/exit"
	"tongban/service/catalog"
)

func newBasic(a *app) *cobra.Command {
	return group("basic", "Import and list the basic catalog (基本目录), at the division that sets it", a.basicImport(), a.basicList())
}

// basicRequest is what the route of the import takes.
type basicRequest struct {
	File    string             `json:"file"`
	Rows    []catalog.BasicRow `json:"rows"`
	Replace bool               `json:"replace"`
	DryRun  bool               `json:"dry_run"`
}

func (a *app) basicImport() *cobra.Command {
	var in basicRequest
	var demo bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Import the basic catalog",
		Long: `Reads a CSV file of basic items (UTF-8, with a header line: base_code, item_name and, if
there are, task_type, main_item, keywords, name_en, by_law, accept_condition,
anticipate_day) and takes its rows into the basic catalog, which goes down to all divisions
below. Rows that are wrong are not taken and are listed with every reason. Importing the
same file again changes nothing. A division with a parent gets its basic catalog from
there. FILE "-" is standard input; --demo takes the demonstration catalog instead.`,
		Example: "  tongban basic import basic.csv --dry-run\n  tongban basic import --demo",
		Args: func(cmd *cobra.Command, args []string) error {
			if demo {
				return noArgs(cmd, args)
			}
			return exactArgs("the file")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if demo {
				in.File, in.Rows = "demonstration catalog", catalog.DemoBasic()
			} else if in.Rows, err = a.readBasic(args[0]); err != nil {
				return err
			} else {
				in.File = filepath.Base(args[0])
			}
			return a.with(func(c *client.Client) error { return a.importBasic(cmd.Context(), c, in) })
		},
	}
	f := cmd.Flags()
	f.BoolVar(&in.DryRun, "dry-run", false, "judge the rows and compare, change nothing")
	f.BoolVar(&in.Replace, "replace", false, "the file is the whole catalog: remove codes that it does not have")
	f.BoolVar(&demo, "demo", false, "take the demonstration catalog instead of a file")
	return a.addJSON(a.addDir(cmd))
}

func (a *app) readBasic(name string) ([]catalog.BasicRow, error) {
	var r io.Reader = a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, exit.Usagef("open the file: %w", err)
		}
		defer f.Close()
		r = f
	}
	rows, err := catalog.ParseBasicCSV(r)
	if err != nil {
		return nil, exit.Errorf(exit.Failed, "%s: %s", name, explain(err))
	}
	if len(rows) == 0 {
		return nil, exit.Errorf(exit.Failed, "%s has no rows below its header", name)
	}
	return rows, nil
}

func (a *app) importBasic(ctx context.Context, c *client.Client, in basicRequest) error {
	var r catalog.BasicResult
	if err := c.Post(ctx, "/basic/imports", in, &r); err != nil {
		return err
	}
	if a.asJSON {
		return a.printJSON(r)
	}
	if len(r.Bad) > 0 {
		t := table{head: []string{"LINE", "CODE", "NAME", "NOT TAKEN BECAUSE"}}
		for _, b := range r.Bad {
			var why []string
			for _, reason := range b.Reasons {
				why = append(why, string(reason.Kind))
			}
			name := b.Name
			if name == "" {
				name = b.Raw
			}
			t.add(strconv.Itoa(b.Line), clean(b.Code), clean(name), strings.Join(why, " "))
		}
		t.print(a.out)
		if more := r.Rejected - len(r.Bad); more > 0 {
			fmt.Fprintf(a.out, "… and %d more\n", more)
		}
	}
	verb := "are"
	if r.DryRun {
		verb = "would be"
	}
	fmt.Fprintf(a.out, "%d rows: %d %s new, %d changed, %d unchanged, %d not taken; %d codes %s removed. The basic catalog has %d items.\n",
		r.Rows, r.New, verb, r.Changed, r.Unchanged, r.Rejected, r.Removed, verb, r.Total)
	return nil
}

func (a *app) basicList() *cobra.Command {
	var text string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the basic catalog",
		Example: "  tongban basic list --search 社会保险",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(func(c *client.Client) error {
				list, err := allBasic(cmd.Context(), c, text)
				if err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(list)
				}
				if len(list) == 0 {
					fmt.Fprintln(a.out, "The basic catalog has no such item.")
					return nil
				}
				t := table{head: []string{"CODE", "NAME", "TYPE", "VERSION", "SET BY"}}
				for _, b := range list {
					t.add(clean(b.Code), clean(b.Name), strconv.Itoa(b.Type), strconv.FormatInt(b.Version, 10), b.Source.String())
				}
				t.print(a.out)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&text, "search", "", "part of a name, code or everyday word")
	return a.addJSON(a.addDir(cmd))
}

func allBasic(ctx context.Context, c *client.Client, text string) ([]catalog.Basic, error) {
	list := []catalog.Basic{}
	for page := 1; ; page++ {
		var one catalog.BasicPage
		q := url.Values{"q": {text}, "page": {strconv.Itoa(page)}}
		if err := c.Get(ctx, "/basic?"+q.Encode(), &one); err != nil {
			return nil, err
		}
		list = append(list, one.Items...)
		if len(one.Items) == 0 || len(list) >= one.Total {
			return list, nil
		}
	}
}
