package catalog

import (
	"context"
	"errors"
	"slices"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/replication"
	"tongban/service"
)

// BasicSource is a division from which basic items come.
type BasicSource struct {
	Division division.Ref `json:"division"`
	Name     string       `json:"name"` // Full name.
	Items    int          `json:"items"`
	Changed  time.Time    `json:"changed"` // When this division learnt of the newest change.
}

// BasicPage is a page of the basic catalog.
type BasicPage struct {
	Query   string        `json:"query"`
	Type    int           `json:"type"`
	Page    int           `json:"page"`
	PerPage int           `json:"per_page"`
	Total   int           `json:"total"`
	Items   []Basic       `json:"items"`
	Sources []BasicSource `json:"sources"`
	Types   []int         `json:"-"`
	Manage  bool          `json:"-"` // Shows the way to the imports.
}

func basicPage(ctx context.Context, r *service.Request) (service.Response, error) {
	page := BasicPage{Query: shorten(clean(r.Form.Get("q")), maxQuery), Type: numberOf(r.Form, "type"),
		Page: max(1, numberOf(r.Form, "page")), PerPage: PerPage, Types: typeList, Manage: r.Principal.May(PermBasic, "")}
	where, args := `1`, []any{}
	if page.Query != "" {
		where = `(instr(name, ?1) > 0 OR instr(code, ?1) > 0 OR instr(main_item, ?1) > 0 OR instr(words, ?1) > 0 OR instr(lower(english), lower(?1)) > 0)`
		args = append(args, page.Query)
	}
	if page.Type != 0 {
		where, args = where+` AND type = ?`, append(args, page.Type)
	}
	err := r.View(ctx, func(v *service.View) error {
		var err error
		if page.Sources, err = readSources(v); err != nil {
			return err
		}
		if err := v.QueryRow(`SELECT count(*) FROM catalog_basic WHERE `+where, args...).Scan(&page.Total); err != nil {
			return err
		}
		page.Page = min(page.Page, max(1, (page.Total+PerPage-1)/PerPage))
		return each(v, func(rows *replication.Rows) error {
			b, err := scanBasic(rows)
			page.Items = append(page.Items, b)
			return err
		}, `SELECT `+basicColumns+` FROM catalog_basic WHERE `+where+` ORDER BY name, code LIMIT ? OFFSET ?`,
			append(args, PerPage, (page.Page-1)*PerPage)...)
	})
	return answer(service.Page("catalog/basic", "catalog.basic_title", page), err)
}

// readSources says from which divisions the basic catalog comes, that with most first.
func readSources(q service.Querier) ([]BasicSource, error) {
	var out []BasicSource
	if err := each(q, func(rows *replication.Rows) error {
		var s BasicSource
		var ref string
		if err := rows.Scan(&ref, &s.Items, &s.Changed); err != nil {
			return err
		}
		var err error
		s.Division, err = division.ParseRef(ref)
		out = append(out, s)
		return err
	}, `SELECT source, count(*), max(changed) FROM catalog_basic GROUP BY source ORDER BY 2 DESC, 1`); err != nil {
		return nil, err
	}
	for i := range out {
		var err error
		if out[i].Name, err = fullName(q, out[i].Division); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// fullName is the full name of any division of the tree.
func fullName(q service.Querier, ref division.Ref) (string, error) {
	if d, ok := division.ByRef(ref); ok {
		return d.FullName(), nil
	}
	e, err := federation.ReadEntry(q, ref)
	if errors.Is(err, federation.ErrNoDivision) {
		return ref.String(), nil
	}
	return e.Name, err
}

// BasicItemPage is one item of the basic catalog.
type BasicItemPage struct {
	Basic
	From string `json:"from"` // Full name of the division that maintains it.
}

func basicItem(ctx context.Context, r *service.Request) (service.Response, error) {
	var page BasicItemPage
	err := r.View(ctx, func(v *service.View) (err error) {
		if page.Basic, err = readOneBasic(v, r.PathValue("code")); err == nil {
			page.From, err = fullName(v, page.Source)
		}
		return err
	})
	response := service.Page("catalog/basic-item", page.Name, page)
	response.Crumbs = slices.Concat(basicCrumbs(), []service.Crumb{{Title: page.Name}})
	return answer(response, err)
}

func basicCrumbs() []service.Crumb {
	return []service.Crumb{{Title: "catalog.menu_home", Path: "/"}, {Title: "catalog.basic_title", Path: "/basic"}}
}
