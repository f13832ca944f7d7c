package demo

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"tongban/service/catalog"
	catalogdemo "tongban/service/catalog/demo"
)

// Catalog is what a district is filled with: a file's rows by department.
type Catalog struct {
	File        string // Name, for people.
	Rows        int
	Departments []catalog.Department
}

// ReadCatalog reads a file in the import format; an empty path is the demonstration
// catalog with its dirty rows.
func ReadCatalog(path string) (Catalog, error) {
	c := Catalog{File: filepath.Base(path)}
	var text []byte
	var err error
	if path == "" {
		c.File = "demonstration catalog"
		text = catalogdemo.CSV(true)
	} else {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return c, fmt.Errorf("read the items: %w", err)
	}
	rows, err := catalog.ParseCSV(bytes.NewReader(text))
	if err != nil {
		return c, fmt.Errorf("read the items of %s: %w", c.File, err)
	}
	c.Rows, c.Departments = len(rows), catalog.Split(rows, nil)
	return c, nil
}

// atOnce is how many departments are made, or imported, at the same time: as many as the
// command for operators does.
const atOnce = 8

// CreateTenants makes a tenant of each department that has none, at the first node's admin
// socket, and returns when all their databases are on all nodes.
func (d *District) CreateTenants(ctx context.Context, c Catalog) error {
	g, making := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, one := range c.Departments {
		g.Go(func() error {
			in := map[string]any{"slug": one.Slug, "name": one.Name, "codes": one.Codes}
			if err := d.Nodes[0].Admin.Post(making, "/tenants", in, nil); err != nil {
				return fmt.Errorf("create the tenant %s (%s): %w", one.Slug, one.Name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return d.Settle(ctx)
}

// Imported counts what an import did.
type Imported struct {
	Published   int
	Quarantined int
	Took        time.Duration
}

// Import imports every department's rows at the first node's admin socket.
func (d *District) Import(ctx context.Context, c Catalog) (Imported, error) {
	var sum Imported
	start := time.Now()
	results := make([]catalog.Result, len(c.Departments))
	g, importing := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, one := range c.Departments {
		g.Go(func() error {
			in := map[string]any{"file": c.File, "rows": one.Rows}
			if err := d.Nodes[0].Admin.Post(importing, "/t/"+one.Slug+"/items/import", in, &results[i]); err != nil {
				return fmt.Errorf("import the items of %s: %w", one.Name, err)
			}
			return nil
		})
	}
	err := g.Wait()
	sum.Took = time.Since(start)
	for _, r := range results {
		sum.Published += r.Published
		sum.Quarantined += r.Quarantined
	}
	return sum, err
}

// count returns how many items the division's search knows, and how many rows wait.
func (d *District) count(ctx context.Context) (catalog.Counts, error) {
	var page catalog.DepartmentsPage
	err := d.http.get(ctx, d.Running()[0].URL, "/departments", nil, &page)
	return page.Total, err
}

// awaitPublished waits until the division's search knows so many items.
func (d *District) awaitPublished(ctx context.Context, want int) error {
	return d.await(ctx, "the division's search knows all items", func() error {
		have, err := d.count(ctx)
		if err == nil && have.Published != want {
			err = fmt.Errorf("it knows %d of %d items", have.Published, want)
		}
		return err
	})
}

// repairable is the group of quarantined rows that a bulk repair is shown with.
type repairable struct {
	department catalog.Department
	group      catalog.Group
	code       string // The department's verified code.
	waiting    int    // All rows of the department that wait.
}

// findRepairable returns the largest group of rows with the same reasons and wrong code
// for which the department has a verified code.
func (d *District) findRepairable(ctx context.Context, c Catalog) (repairable, error) {
	var best repairable
	for _, one := range c.Departments {
		var page catalog.QuarantinePage
		if err := d.Nodes[0].Admin.Get(ctx, "/t/"+one.Slug+"/items/quarantine", &page); err != nil {
			return best, err
		}
		for _, g := range page.Groups {
			if g.Repairable && len(page.Bodies) > 0 && g.Rows > best.group.Rows {
				best = repairable{one, g, page.Bodies[0].Code, page.Counts.Quarantined}
				if g.Suggestion != nil {
					best.code = g.Suggestion.Code
				}
			}
		}
	}
	if best.group.Rows == 0 {
		return best, fmt.Errorf("no department has rows in quarantine that a verified code of its own repairs")
	}
	return best, nil
}

// repair looks at what the repair would do, applies it and releases the rows. It returns
// how many are items now.
func (d *District) repair(ctx context.Context, r repairable) (int, error) {
	admin, path := d.Nodes[0].Admin, "/t/"+r.department.Slug
	order := map[string]any{"select": catalog.Selection{Kinds: r.group.Kinds, Body: &r.group.Body}, "code": r.code, "dry_run": true}
	var seen catalog.Preview
	if err := admin.Post(ctx, path+"/items/repairs", order, &seen); err != nil {
		return 0, fmt.Errorf("preview the repair: %w", err)
	}
	d.say.Step("preview: %d rows of %s would get the code %s (verified: %v; %d with a warning)",
		len(seen.Rows), r.department.Name, seen.Code, seen.Verified, seen.Warnings)
	order["dry_run"] = false
	var done catalog.Repair
	if err := admin.Post(ctx, path+"/items/repairs", order, &done); err != nil {
		return 0, fmt.Errorf("apply the repair: %w", err)
	}
	if done.Rows != len(seen.Rows) {
		return 0, fmt.Errorf("the preview named %d rows, the repair changed %d", len(seen.Rows), done.Rows)
	}
	if err := admin.Post(ctx, fmt.Sprintf("%s/repairs/%d/release", path, done.ID), map[string]any{}, &done); err != nil {
		return 0, fmt.Errorf("release the repaired rows: %w", err)
	}
	return done.Released, nil
}

// Offer is something that can be applied for.
type Offer struct{ Tenant, Item string }

// Offers returns items that can be applied for, by tenant: at most a page of each.
func (d *District) Offers(ctx context.Context, c Catalog) (map[string][]Offer, error) {
	out := map[string][]Offer{}
	for _, one := range c.Departments {
		var page catalog.ItemsPage
		if err := d.http.get(ctx, d.Running()[0].URL, "/t/"+one.Slug+"/items", nil, &page); err != nil {
			return nil, fmt.Errorf("list the items of %s: %w", one.Name, err)
		}
		for _, item := range page.Items {
			out[one.Slug] = append(out[one.Slug], Offer{one.Slug, item.Code})
		}
	}
	return out, nil
}

// path is where the offer is applied for.
func (o Offer) path() string {
	return "/t/" + o.Tenant + "/items/" + url.PathEscape(o.Item) + "/apply"
}

// Spread orders offers so that neighbours are of different tenants.
func Spread(by map[string][]Offer) []Offer {
	var slugs []string
	for slug := range by {
		slugs = append(slugs, slug)
	}
	slices.Sort(slugs)
	var out []Offer
	for i := 0; ; i++ {
		before := len(out)
		for _, slug := range slugs {
			if i < len(by[slug]) {
				out = append(out, by[slug][i])
			}
		}
		if len(out) == before {
			return out
		}
	}
}
