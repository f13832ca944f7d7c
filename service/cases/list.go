package cases

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"tongban/replication"
	"tongban/service"
)

// perPage is the number of rows on a page.
const perPage = 20

// Listing is a page of a department's cases, the most urgent first.
type Listing struct {
	View  string `json:"view"`            // todo, waiting, done, all
	Query string `json:"query,omitempty"` // Part of number, name or item.
	State State  `json:"state,omitempty"`
	Page  int    `json:"page"`
	Per   int    `json:"per_page"`
	Total int    `json:"total"`
	Rows  []Row  `json:"rows"`
	Views []Tab  `json:"views"`

	names bool // Query may match people's names: of whoever sees them only masked, it would tell them letter by letter.
}

// Tab is one view and how many cases are in it.
type Tab struct {
	View  string `json:"view"`
	Count int    `json:"count"`
}

// Row is a case in a list. Applicant is masked.
type Row struct {
	Number    string    `json:"number"`
	Item      string    `json:"item"`
	ItemName  string    `json:"item_name"`
	Instant   bool      `json:"instant"`
	Applicant string    `json:"applicant"`
	IDNumber  string    `json:"id_number"`
	State     State     `json:"state"`
	Silent    bool      `json:"silent"`
	Submitted time.Time `json:"submitted"`
	Due       *Deadline `json:"due,omitempty"` // Nil: it is not the department's turn.
}

// views are which states each view holds; nil: all.
var views = []struct {
	name   string
	states []State
}{
	{"todo", []State{Submitted, Received, Resubmitted, Accepted, Review, Paused, Granted, Denied, Closed}},
	{"waiting", []State{Correction, Special}},
	{"done", []State{Delivered, Archived, Refused, Withdrawn, Void}},
	{"all", nil},
}

func statesOf(view string) ([]State, bool) {
	for _, v := range views {
		if v.name == view {
			return v.states, true
		}
	}
	return nil, false
}

// ErrBadFilter refuses a view, state or page that does not exist.
var ErrBadFilter = service.Refuse(service.Invalid, "cases.bad_filter")

// readListing reads the query: view, q, state, page.
func readListing(r *service.Request) (Listing, error) {
	q := r.HTTP.URL.Query()
	l := Listing{View: q.Get("view"), Query: line(q.Get("q")), State: State(q.Get("state")), Page: 1,
		Per: perPage, Rows: []Row{}, names: r.Principal.May(PermHandle, r.Tenant.Slug)}
	if l.View == "" {
		l.View = "todo"
		if l.Query != "" || l.State != "" {
			l.View = "all"
		}
	}
	if _, ok := statesOf(l.View); !ok {
		return l, ErrBadFilter
	}
	if l.State != "" && !slices.Contains(states, l.State) {
		return l, ErrBadFilter
	}
	if p := q.Get("page"); p != "" {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > 1_000_000 {
			return l, ErrBadFilter
		}
		l.Page = n
	}
	return l, nil
}

// where returns the condition of the list and its values.
func (l Listing) where() (string, []any) {
	cond, args := []string{"1"}, []any{}
	in := func(list []State) {
		cond = append(cond, `state IN (`+strings.TrimSuffix(strings.Repeat("?,", len(list)), ",")+`)`)
		for _, s := range list {
			args = append(args, string(s))
		}
	}
	if list, _ := statesOf(l.View); list != nil {
		in(list)
	}
	if l.State != "" {
		in([]State{l.State})
	}
	if n, err := ParseNumber(l.Query); err == nil {
		cond, args = append(cond, `number = ?`), append(args, n.String())
	} else if l.Query != "" {
		cond = append(cond, `(instr(number, ?) > 0 OR (? OR id_kind = ?) AND instr(name, ?) > 0 OR instr(item_name, ?) > 0 OR item = ?)`)
		args = append(args, strings.ToUpper(l.Query), l.names, Company, l.Query, l.Query, l.Query)
	}
	return strings.Join(cond, " AND "), args
}

func (h *handlers) list(ctx context.Context, r *service.Request) (service.Response, error) {
	l, err := readListing(r)
	if err != nil {
		return service.Response{}, err
	}
	err = r.View(ctx, func(v *service.View) error { return h.fill(v, &l, r.Now()) })
	return service.Page("cases/list", "cases.menu", l), err
}

// fill reads the page. Cost: a scan of the cases of the view, without their events.
func (h *handlers) fill(q service.Querier, l *Listing, now time.Time) error {
	counts := map[State]int{}
	if err := each(q, func(rows *replication.Rows) error {
		var s State
		var n int
		err := rows.Scan(&s, &n)
		counts[s] = n
		return err
	}, `SELECT state, count(*) FROM cases_case GROUP BY state`); err != nil {
		return err
	}
	for _, v := range views {
		t := Tab{View: v.name}
		for s, n := range counts {
			if v.states == nil || slices.Contains(v.states, s) {
				t.Count += n
			}
		}
		l.Views = append(l.Views, t)
	}
	cond, args := l.where()
	if err := q.QueryRow(`SELECT count(*) FROM cases_case WHERE `+cond, args...).Scan(&l.Total); err != nil {
		return err
	}
	rows, err := collect(q, h.scanRow(now), `SELECT number, item, item_name, instant, name, id_kind, id_number, state, silent,
		submitted, due, provisional FROM cases_case WHERE `+cond+` ORDER BY due IS NULL, due, id LIMIT ? OFFSET ?`,
		append(slices.Clone(args), perPage, (l.Page-1)*perPage)...)
	l.Rows = append(l.Rows, rows...)
	return err
}

func (h *handlers) scanRow(now time.Time) func(rows *replication.Rows) (Row, error) {
	return func(rows *replication.Rows) (r Row, err error) {
		var p Person
		var due *time.Time
		var provisional bool
		err = rows.Scan(&r.Number, &r.Item, &r.ItemName, &r.Instant, &p.Name, &p.IDKind, &p.IDNumber, &r.State, &r.Silent,
			&r.Submitted, &due, &provisional)
		p = p.Masked()
		r.Applicant, r.IDNumber = p.Name, p.IDNumber
		if due != nil {
			d := Deadline{At: *due, Left: left(h.cal, now, *due), Provisional: provisional}
			d.Lamp = Lamp(d.Left)
			r.Due = &d
		}
		return r, err
	}
}
