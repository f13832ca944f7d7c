package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"tongban/node"
	"tongban/node/client"
	"tongban/node/exit"
	"tongban/portal"
	"tongban/service"
	"tongban/service/catalog"
	"tongban/tenancy"
)

const (
	// importAtOnce bounds the departments that are created and imported at once.
	importAtOnce = 8
	// importRows bounds the rows of one request; the route takes 8 MiB.
	importRows = 5000
)

// imported is the outcome of one department.
type imported struct {
	Slug        string               `json:"slug"`
	Name        string               `json:"name"`
	Created     bool                 `json:"created"` // The department is new.
	Rows        int                  `json:"rows"`
	Published   int                  `json:"published"`
	Quarantined int                  `json:"quarantined"`
	Updated     int                  `json:"updated"`
	Unchanged   int                  `json:"unchanged"`
	ByReason    map[catalog.Kind]int `json:"by_reason"`
}

// importSummary is what the command prints with --json.
type importSummary struct {
	File        string     `json:"file"`
	DryRun      bool       `json:"dry_run"`
	Rows        int        `json:"rows"`
	Published   int        `json:"published"`
	Quarantined int        `json:"quarantined"`
	Updated     int        `json:"updated"`
	Unchanged   int        `json:"unchanged"`
	Departments []imported `json:"departments"`
}

func (a *app) itemsImport() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Import a division's items, a tenant for each department",
		Long: `Reads a CSV file of items (UTF-8, with a header line), makes a tenant for each
department that has none, and imports each department's rows. Rows whose body code does
not verify go into quarantine with every reason; no row is dropped. Importing the same
file again changes nothing. FILE "-" is standard input.`,
		Example: "  tongban items import items.csv --dry-run\n  tongban items import items.csv",
		Args:    exactArgs("the file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			rows, err := a.readRows(args[0])
			if err != nil {
				return err
			}
			return a.with(func(c *client.Client) error {
				s, err := a.importItems(cmd.Context(), c, args[0], rows, dryRun)
				if err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(s)
				}
				a.printImport(s)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "judge the rows, change nothing")
	return a.addJSON(a.addDir(cmd))
}

func (a *app) readRows(name string) ([]catalog.Row, error) {
	var r io.Reader = a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, exit.Usagef("open the file: %w", err)
		}
		defer f.Close()
		r = f
	}
	rows, err := catalog.ParseCSV(r)
	if err != nil {
		return nil, exit.Errorf(exit.Failed, "%s: %s", name, explain(err))
	}
	if len(rows) == 0 {
		return nil, exit.Errorf(exit.Failed, "%s has no rows below its header", name)
	}
	return rows, nil
}

// explain says a service's refusal in English, as the portal would.
func explain(err error) string {
	refusal := service.AsError(err)
	if refusal.Code == service.Internal {
		return err.Error()
	}
	p, perr := portal.New(portal.Options{Definitions: []service.Definition{catalog.Definition()}})
	if perr != nil {
		return refusal.Error()
	}
	return strings.TrimSuffix(p.Text("en", refusal.Reason, refusal.Params), ".")
}

func (a *app) importItems(ctx context.Context, c *client.Client, file string, rows []catalog.Row, dryRun bool) (importSummary, error) {
	var page tenancy.TenantList
	if err := c.Get(ctx, "/tenants", &page); err != nil {
		return importSummary{}, err
	}
	taken := map[string]string{}
	for _, t := range page.Tenants {
		taken[t.Name] = t.Slug
	}
	departments := catalog.Split(rows, taken)
	s := importSummary{File: filepath.Base(file), DryRun: dryRun, Departments: make([]imported, len(departments))}
	for i, d := range departments {
		_, there := taken[d.Name]
		s.Departments[i] = imported{Slug: d.Slug, Name: d.Name, Created: !there, Rows: len(d.Rows), ByReason: map[catalog.Kind]int{}}
	}
	var err error
	if dryRun {
		err = judge(ctx, c, departments, s.Departments)
	} else {
		err = a.importAll(ctx, c, s.File, departments, s.Departments)
	}
	for _, d := range s.Departments {
		s.Rows += d.Rows
		s.Published += d.Published
		s.Quarantined += d.Quarantined
		s.Updated += d.Updated
		s.Unchanged += d.Unchanged
	}
	return s, err
}

// judge counts what an import would do to a division without these rows.
func judge(ctx context.Context, c *client.Client, departments []catalog.Department, out []imported) error {
	var status node.Status
	if err := c.Get(ctx, "/node/status", &status); err != nil {
		return err
	}
	for i, d := range departments {
		for _, j := range catalog.Judge(d.Rows, status.Division.Code) {
			if !j.Blocked {
				out[i].Published++
				continue
			}
			out[i].Quarantined++
			for _, r := range j.Reasons {
				out[i].ByReason[r.Kind]++
			}
		}
	}
	return nil
}

func (a *app) importAll(ctx context.Context, c *client.Client, file string, departments []catalog.Department, out []imported) error {
	total := 0
	for _, d := range out {
		total += d.Rows
		if d.Created {
			total++
		}
	}
	step := a.progress(total)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(importAtOnce)
	for i, d := range departments {
		g.Go(func() error { return importOne(ctx, c, file, d, &out[i], step) })
	}
	return g.Wait()
}

// importOne creates the department if it is new and imports its rows.
func importOne(ctx context.Context, c *client.Client, file string, d catalog.Department, out *imported, step func(int)) error {
	if out.Created {
		if err := c.Post(ctx, "/tenants", tenantRequest{Slug: d.Slug, Name: d.Name, Codes: d.Codes}, nil); err != nil {
			return fmt.Errorf("create the department %s (%s): %w", d.Name, d.Slug, err)
		}
		step(1)
	}
	for rows := range slices.Chunk(d.Rows, importRows) {
		var r catalog.Result
		in := struct {
			File string        `json:"file"`
			Rows []catalog.Row `json:"rows"`
		}{file, rows}
		if err := c.Post(ctx, tenantPath(d.Slug, "/items/import"), in, &r); err != nil {
			return fmt.Errorf("import the rows of %s (%s); run the command again, it goes on where it was: %w", d.Name, d.Slug, err)
		}
		out.Published += r.Published
		out.Quarantined += r.Quarantined
		out.Updated += r.Updated
		out.Unchanged += r.Unchanged
		for kind, n := range r.ByReason {
			out.ByReason[kind] += n
		}
		step(len(rows))
	}
	return nil
}

// progress shows a bar on standard error when that is a terminal.
func (a *app) progress(total int) (step func(n int)) {
	if !terminal(a.err) {
		return func(int) {}
	}
	bar := progressbar.NewOptions(total, progressbar.OptionSetWriter(a.err), progressbar.OptionSetDescription("importing"),
		progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
	var mu sync.Mutex
	return func(n int) {
		mu.Lock()
		defer mu.Unlock()
		_ = bar.Add(n) // A terminal that went away: nobody to tell.
	}
}

func (a *app) printImport(s importSummary) {
	t := table{head: []string{"DEPARTMENT", "SLUG", "ROWS", "PUBLISHED", "QUARANTINED", "CHANGED", "SAME", "REASONS"}}
	for _, d := range s.Departments {
		name := clean(d.Name)
		if d.Created {
			name += " *"
		}
		t.add(name, d.Slug, strconv.Itoa(d.Rows), strconv.Itoa(d.Published), strconv.Itoa(d.Quarantined),
			strconv.Itoa(d.Updated), strconv.Itoa(d.Unchanged), reasonText(d.ByReason))
	}
	t.print(a.out)
	verb := "are"
	if s.DryRun {
		verb = "would be"
	}
	fmt.Fprintf(a.out, "\n%d rows of %d departments (* new): %d %s published, %d %s in quarantine, %d changed, %d unchanged\n",
		s.Rows, len(s.Departments), s.Published, verb, s.Quarantined, verb, s.Updated, s.Unchanged)
}

func reasonText(by map[catalog.Kind]int) string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, fmt.Sprintf("%s %d", kind, by[kind]))
	}
	return strings.Join(parts, ", ")
}
