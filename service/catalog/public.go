package catalog

import (
	"context"
	"net/url"
	"strconv"
	"strings"

	"tongban/replication"
	"tongban/service"
)

// Topic is a thing that many people look for; Query is what the link searches.
type Topic struct {
	Title string `json:"title"` // Message key.
	Query string `json:"query"`
}

var (
	personTopics = []Topic{
		{"catalog.topic_social", "社保"}, {"catalog.topic_health", "医保"}, {"catalog.topic_household", "户口"},
		{"catalog.topic_marriage", "结婚"}, {"catalog.topic_birth", "生育"}, {"catalog.topic_work", "就业"},
		{"catalog.topic_retire", "退休"}, {"catalog.topic_aid", "低保"}, {"catalog.topic_disabled", "残疾"},
		{"catalog.topic_school", "学生"}, {"catalog.topic_licence", "驾驶证"}, {"catalog.topic_house", "不动产"},
	}
	firmTopics = []Topic{
		{"catalog.topic_open", "营业执照"}, {"catalog.topic_food", "食品经营"}, {"catalog.topic_tax", "税"},
		{"catalog.topic_build", "施工"}, {"catalog.topic_transport", "道路运输"}, {"catalog.topic_staff", "劳务派遣"},
		{"catalog.topic_hygiene", "卫生许可"}, {"catalog.topic_farm", "合作社"},
	}
)

// HomePage is the division's front page.
type HomePage struct {
	Items       int                `json:"items"` // Published, in all departments.
	Below       int                `json:"below"` // Published in the divisions below.
	Persons     []Topic            `json:"persons"`
	Firms       []Topic            `json:"firms"`
	Departments []DepartmentCounts `json:"departments"` // With items; most items first.
}

// All counts the items of this division and of those below.
func (p HomePage) All() int { return p.Items + p.Below }

func home(ctx context.Context, r *service.Request) (service.Response, error) {
	page := HomePage{Persons: personTopics, Firms: firmTopics}
	list, err := readDepartments(ctx, r)
	if err == nil {
		err = r.ViewDivision(ctx, func(v *service.View) error {
			return v.QueryRow(`SELECT count(*) FROM catalog_offer WHERE division > ''`).Scan(&page.Below)
		})
	}
	for _, d := range list {
		page.Items += d.Published
		if d.Published > 0 {
			page.Departments = append(page.Departments, d)
		}
	}
	return answer(service.Page("catalog/home", "catalog.home_title", page), err)
}

func readDepartments(ctx context.Context, r *service.Request) (list []DepartmentCounts, err error) {
	err = r.ViewDivision(ctx, func(v *service.View) error {
		list, err = ReadDepartments(v)
		return err
	})
	return list, err
}

// DepartmentsPage lists the departments.
type DepartmentsPage struct {
	Departments []DepartmentCounts `json:"departments"`
	Total       Counts             `json:"total"`
	Fields      []string           `json:"fields"` // That count for completeness.
}

func departments(ctx context.Context, r *service.Request) (service.Response, error) {
	list, err := readDepartments(ctx, r)
	page := DepartmentsPage{Departments: list, Fields: GuideFields()}
	for _, d := range list {
		page.Total.add(d.Counts)
	}
	return answer(service.Page("catalog/departments", "catalog.departments_title", page), err)
}

func (c *Counts) add(d Counts) {
	c.Published += d.Published
	c.Quarantined += d.Quarantined
	c.Repaired += d.Repaired
	c.Completeness.Own += d.Completeness.Own
	c.Completeness.Inherited += d.Completeness.Inherited
	c.Completeness.Missing += d.Completeness.Missing
}

// SearchPage is a page of results with the filters.
type SearchPage struct {
	Found
	Filter      Filter             `json:"filter"`
	PerPage     int                `json:"per_page"`
	Divisions   []DivisionChoice   `json:"divisions,omitempty"` // To which the search can be narrowed; empty: nothing is offered below.
	Departments []DepartmentCounts `json:"-"`
	Types       []int              `json:"-"`
	Topics      []Topic            `json:"topics,omitempty"` // Suggested when nothing is found.
}

func search(ctx context.Context, r *service.Request) (service.Response, error) {
	page := SearchPage{PerPage: PerPage, Types: typeList}
	page.Filter = Filter{Division: r.Form.Get("division"), Tenant: r.Form.Get("department"), Audience: r.Form.Get("audience"),
		Type: numberOf(r.Form, "type")}
	err := r.ViewDivision(ctx, func(v *service.View) error {
		t, err := readTree(v, r.Site)
		if err != nil {
			return err
		}
		t.narrow(&page.Filter)
		if page.Divisions, err = t.choices(page.Filter); err != nil {
			return err
		}
		if page.Found, err = Search(v, r.Form.Get("q"), page.Filter, numberOf(r.Form, "page")); err != nil {
			return err
		}
		if err := t.locate(page.Hits, r.Now()); err != nil {
			return err
		}
		page.Departments, err = t.departments(page.Filter)
		return err
	})
	if page.Total == 0 {
		page.Topics = append(append([]Topic(nil), personTopics[:6]...), firmTopics[:4]...)
	}
	return answer(service.Page("catalog/search", "catalog.search_title", page), err)
}

// typeList are the known task types in the order of the filter.
var typeList = []int{1, 5, 7, 8, 9, 10, 20}

// numberOf reads a number of a form; anything else is 0.
func numberOf(form url.Values, name string) int {
	n, err := strconv.Atoi(form.Get(name))
	if err != nil || n < 0 || n > 1_000_000 {
		return 0
	}
	return n
}

// answer is a page, or an error alone: a page beside an error is a form that goes back.
func answer(r service.Response, err error) (service.Response, error) {
	if err != nil {
		return service.Response{}, err
	}
	return r, nil
}

// basePath is the path of the request's tenant.
func basePath(r *service.Request) string { return "/t/" + r.Tenant.Slug }

func crumbs(r *service.Request, more ...service.Crumb) []service.Crumb {
	return append([]service.Crumb{{Title: "catalog.menu_home", Path: "/"},
		{Title: r.Tenant.Name, Path: basePath(r) + "/items"}}, more...)
}

// ItemsPage lists a department's items.
type ItemsPage struct {
	Query   string  `json:"query"`
	Type    int     `json:"type"`
	Page    int     `json:"page"`
	PerPage int     `json:"per_page"`
	Total   int     `json:"total"`
	Items   []Brief `json:"items"`
	Counts  Counts  `json:"counts"`
	Types   []int   `json:"-"`
}

// Brief is an item as a list shows it.
type Brief struct {
	Code         string       `json:"code"`
	Name         string       `json:"name"`
	MainItem     string       `json:"main_item,omitempty"`
	Type         int          `json:"type"`
	Notes        int          `json:"notes"`  // How many things were odd about its row.
	Repair       int64        `json:"repair"` // 0: its code came right.
	Completeness Completeness `json:"completeness"`
}

func items(ctx context.Context, r *service.Request) (service.Response, error) {
	page, err := listItems(ctx, r, "")
	response := service.Page("catalog/items", "catalog.items_title", page)
	response.Crumbs = crumbs(r)[:1]
	return answer(response, err)
}

// listItems reads a page of the department's items: those whose name, main item or code
// contains what was typed, by name, or by a sort order of orders.
func listItems(ctx context.Context, r *service.Request, sort string) (ItemsPage, error) {
	page := ItemsPage{Query: shorten(clean(r.Form.Get("q")), maxQuery), Type: numberOf(r.Form, "type"),
		Page: max(1, numberOf(r.Form, "page")), PerPage: PerPage, Types: typeList}
	where, args := `state = 'published'`, []any{}
	if page.Query != "" {
		where += ` AND (instr(name, ?) > 0 OR instr(main_item, ?) > 0 OR instr(code, ?) > 0)`
		args = append(args, page.Query, page.Query, page.Query)
	}
	if page.Type != 0 {
		where, args = where+` AND type = ?`, append(args, page.Type)
	}
	order := orders[sort]
	err := r.View(ctx, func(v *service.View) error {
		var err error
		if page.Counts, err = ReadCounts(v); err != nil {
			return err
		}
		if err := v.QueryRow(`SELECT count(*) FROM catalog_item WHERE `+where, args...).Scan(&page.Total); err != nil {
			return err
		}
		page.Page = min(page.Page, max(1, (page.Total+PerPage-1)/PerPage))
		return each(v, func(rows *replication.Rows) error {
			var b Brief
			var notes string
			err := rows.Scan(&b.Code, &b.Name, &b.MainItem, &b.Type, &notes, &b.Repair,
				&b.Completeness.Own, &b.Completeness.Inherited, &b.Completeness.Missing)
			b.Notes = strings.Count(notes, `"kind"`)
			page.Items = append(page.Items, b)
			return err
		}, `SELECT code, name, main_item, type, notes, coalesce(repair, 0), own, inherited, missing FROM catalog_item WHERE `+where+
			` ORDER BY `+order+`name, code LIMIT ? OFFSET ?`, append(args, PerPage, (page.Page-1)*PerPage)...)
	})
	return page, err
}

// orders are the sort orders of the department's own list.
var orders = map[string]string{
	"":        "",
	"missing": "missing DESC, own, ",
	"own":     "own DESC, missing, ",
	"notes":   "length(notes) DESC, ",
}

// ItemPage is an item with where it is applied for.
type ItemPage struct {
	Item
	Tenant string `json:"tenant"`
	Apply  string `json:"apply"`           // Path of the application form.
	Sought string `json:"sought"`          // The code of the address, when it is a former one.
	Edit   string `json:"edit,omitempty"`  // Path of the guide's form, for those who may.
	Basic  *Basic `json:"basic,omitempty"` // The item of the basic catalog that it implements, if that is known here.
}

func item(ctx context.Context, r *service.Request) (service.Response, error) {
	code := r.PathValue("code")
	page := ItemPage{Tenant: r.Tenant.Slug}
	err := r.View(ctx, func(v *service.View) error {
		var err error
		page.Item, err = ReadItem(v, code)
		return err
	})
	if err != nil {
		return service.Response{}, err
	}
	if code != page.Code {
		page.Sought = code
	}
	if err := r.ViewDivision(ctx, func(v *service.View) error {
		known, err := ReadBasic(v, page.BasicCode)
		if b, ok := known[page.BasicCode]; ok {
			page.Basic = &b
		}
		return err
	}); err != nil {
		return service.Response{}, err
	}
	address := basePath(r) + "/items/" + url.PathEscape(page.Code)
	page.Apply = address + "/apply"
	if r.Principal.May(PermManage, r.Tenant.Slug) {
		page.Edit = address + "/guide"
	}
	response := service.Page("catalog/item", page.Name, page)
	response.Crumbs = crumbs(r, service.Crumb{Title: page.Name})
	return response, nil
}
