package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"tongban/node/client"
	"tongban/node/exit"
	"tongban/service/catalog"
)

func newItems(a *app) *cobra.Command {
	return group("items", "Import, list, repair and release the items of departments",
		a.itemsImport(), a.itemsList(), a.itemsQuarantine(), a.itemsRepair(), a.itemsRelease(), a.itemsUndo())
}

func (a *app) itemsList() *cobra.Command {
	var text string
	cmd := &cobra.Command{
		Use:     "list DEPARTMENT",
		Short:   "List the published items of a department",
		Example: "  tongban items list minzheng --search 婚姻",
		Args:    exactArgs("the department's slug"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(func(c *client.Client) error {
				list, counts, err := allItems(cmd.Context(), c, args[0], text)
				if err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(list)
				}
				t := table{head: []string{"CODE", "NAME", "GUIDE", "NOTES"}}
				for _, one := range list {
					known := one.Completeness.Own + one.Completeness.Inherited
					t.add(clean(one.Code), clean(one.Name), fmt.Sprintf("%d/%d", known, known+one.Completeness.Missing), strconv.Itoa(one.Notes))
				}
				t.print(a.out)
				fmt.Fprintf(a.err, "%d published, %d in quarantine, %d repaired and not released\n",
					counts.Published, counts.Quarantined, counts.Repaired)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&text, "search", "", "part of a name, or pinyin")
	return a.addJSON(a.addDir(cmd))
}

func allItems(ctx context.Context, c *client.Client, slug, text string) ([]catalog.Brief, catalog.Counts, error) {
	list := []catalog.Brief{}
	for page := 1; ; page++ {
		var one catalog.ManagePage
		q := url.Values{"q": {text}, "page": {strconv.Itoa(page)}}
		if err := c.Get(ctx, tenantPath(slug, "/items/manage?"+q.Encode()), &one); err != nil {
			return nil, catalog.Counts{}, err
		}
		list = append(list, one.Items...)
		if len(one.Items) == 0 || len(list) >= one.Total {
			return list, one.Counts, nil
		}
	}
}

func (a *app) itemsQuarantine() *cobra.Command {
	return a.addJSON(a.addDir(&cobra.Command{
		Use:     "quarantine DEPARTMENT",
		Short:   "List what keeps rows of a department in quarantine, and the code that would repair them",
		Example: "  tongban items quarantine minzheng",
		Args:    exactArgs("the department's slug"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(func(c *client.Client) error {
				var page catalog.QuarantinePage
				if err := c.Get(cmd.Context(), tenantPath(args[0], "/items/quarantine"), &page); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(page)
				}
				t := table{head: []string{"ROWS", "REASONS", "CODE IN THE FILE", "SUGGESTED CODE", "EXAMPLE"}}
				for _, g := range page.Groups {
					suggested := ""
					if g.Suggestion != nil {
						suggested = g.Suggestion.Code
					}
					t.add(strconv.Itoa(g.Rows), g.Kinds, clean(g.Body), suggested, clean(g.Example))
				}
				t.print(a.out)
				return nil
			})
		},
	}))
}

// repairRequest is what the repair route takes.
type repairRequest struct {
	Select   catalog.Selection `json:"select"`
	Code     string            `json:"code"`
	Evidence string            `json:"evidence,omitempty"`
	DryRun   bool              `json:"dry_run,omitempty"`
}

func (a *app) itemsRepair() *cobra.Command {
	var in repairRequest
	var kind, body string
	cmd := &cobra.Command{
		Use:   "repair DEPARTMENT --code CODE",
		Short: "Give rows in quarantine the department's right code",
		Long: `Gives rows in quarantine the unified social credit code of the department, so that they
can be released. --dry-run shows what would change. A repair can be undone.`,
		Example: `  tongban items repair minzheng --code 11511301MB0X24873P --kind body_check --dry-run
  tongban items repair minzheng --code 11511301MB0X24873P --body 11511301008778183X`,
		Args: exactArgs("the department's slug"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Select.Kind = catalog.Kind(kind)
			if cmd.Flags().Changed("body") {
				in.Select.Body = &body
			}
			if in.Code == "" || kind == "" && in.Select.Kinds == "" && in.Select.Body == nil && len(in.Select.IDs) == 0 {
				return exit.Usagef("say which rows (--kind, --kinds, --body or --id; see `tongban items quarantine %s`) and the right code (--code)", args[0])
			}
			return a.with(func(c *client.Client) error { return a.repair(cmd.Context(), c, args[0], in) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Code, "code", "", "the department's unified social credit code")
	f.StringVar(&in.Evidence, "evidence", "", "what vouches for a code that the department does not have yet")
	f.StringVar(&kind, "kind", "", "rows with this reason")
	f.StringVar(&in.Select.Kinds, "kinds", "", "rows with exactly these reasons, separated by spaces")
	f.StringVar(&body, "body", "", "rows with this wrong code (empty: with none)")
	f.Int64SliceVar(&in.Select.IDs, "id", nil, "rows by their number; may be repeated")
	f.BoolVar(&in.DryRun, "dry-run", false, "show what would change, change nothing")
	return a.addJSON(a.addDir(cmd))
}

func (a *app) repair(ctx context.Context, c *client.Client, slug string, in repairRequest) error {
	path := tenantPath(slug, "/items/repairs")
	if in.DryRun {
		var p catalog.Preview
		if err := c.Post(ctx, path, in, &p); err != nil {
			return err
		}
		if a.asJSON {
			return a.printJSON(p)
		}
		t := table{head: []string{"LINE", "NAME", "OLD CODE", "NEW CODE", "WARNINGS"}}
		for _, r := range p.Rows {
			t.add(strconv.Itoa(r.Line), clean(r.Name), clean(r.OldBody), r.NewBody, fmt.Sprint(r.Warnings))
		}
		t.print(a.out)
		fmt.Fprintf(a.err, "%d rows would be repaired, %d of them with a warning; %d selected rows are not repaired by a code\n", len(p.Rows), p.Warnings, p.Skipped)
		return nil
	}
	var r catalog.Repair
	if err := c.Post(ctx, path, in, &r); err != nil {
		return err
	}
	if a.asJSON {
		return a.printJSON(r)
	}
	fmt.Fprintf(a.out, "Repair %d: %d rows have the code %s. Publish them with `tongban items release %s %d`, or take it back with `tongban items undo %s %d`.\n",
		r.ID, r.Rows, r.Code, slug, r.ID, slug, r.ID)
	return nil
}

func (a *app) itemsRelease() *cobra.Command {
	return a.addJSON(a.addDir(&cobra.Command{
		Use:     "release DEPARTMENT REPAIR",
		Short:   "Publish the rows of a repair",
		Example: "  tongban items release minzheng 1",
		Args:    exactArgs("the department's slug", "the number of the repair"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(func(c *client.Client) error {
				var r catalog.Repair
				if err := c.Post(cmd.Context(), tenantPath(args[0], "/repairs/"+url.PathEscape(args[1])+"/release"), struct{}{}, &r); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(r)
				}
				fmt.Fprintf(a.out, "%d of %d rows are published.\n", r.Released, r.Rows)
				for _, h := range r.Held {
					fmt.Fprintf(a.out, "  line %d %s stays: %v\n", h.Line, clean(h.Name), h.Warnings)
				}
				return nil
			})
		},
	}))
}

func (a *app) itemsUndo() *cobra.Command {
	var takeBack bool
	cmd := &cobra.Command{
		Use:     "undo DEPARTMENT REPAIR",
		Short:   "Undo a repair",
		Example: "  tongban items undo minzheng 1",
		Args:    exactArgs("the department's slug", "the number of the repair"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(func(c *client.Client) error {
				var r catalog.Repair
				in := map[string]bool{"take_back": takeBack}
				if err := c.Post(cmd.Context(), tenantPath(args[0], "/repairs/"+url.PathEscape(args[1])+"/undo"), in, &r); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(r)
				}
				fmt.Fprintf(a.out, "Repair %d is undone; its %d rows are as they were.\n", r.ID, r.Rows)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&takeBack, "take-back", false, "also when its rows are published: take them back")
	return a.addJSON(a.addDir(cmd))
}
