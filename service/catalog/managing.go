package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tongban/replication"
	"tongban/service"
)

// maxImport bounds the body of an import: some 16,000 rows.
const maxImport = 8 << 20

// Refusals of an import.
var (
	ErrNoRows  = service.Refuse(service.Unprocessable, "catalog.no_rows")
	ErrNoFile  = service.Refuse(service.Invalid, "catalog.no_file").Field("file", "catalog.no_file")
	ErrNotHere = service.Refuse(service.Unprocessable, "catalog.not_here") // Params: departments, department.
)

// ManagePage lists a department's items for those who keep them.
type ManagePage struct {
	ItemsPage
	Sort   string   `json:"sort"`
	Fields []string `json:"fields"` // That count for completeness.
}

func manage(ctx context.Context, r *service.Request) (service.Response, error) {
	sort := r.Form.Get("sort")
	if _, known := orders[sort]; !known {
		sort = ""
	}
	list, err := listItems(ctx, r, sort)
	page := ManagePage{ItemsPage: list, Sort: sort, Fields: GuideFields()}
	response := service.Page("catalog/manage", "catalog.manage_title", page)
	response.Crumbs = crumbs(r)
	return answer(response, err)
}

// Batch is an import that was made.
type Batch struct {
	Result
	Account string    `json:"account"`
	At      time.Time `json:"at"`
	Done    bool      `json:"done"` // false: it was interrupted; importing the file again goes on.
}

// ImportPage is the form of an import, and what earlier ones did.
type ImportPage struct {
	Shown   *Batch  `json:"shown,omitempty"` // The import asked for.
	Batches []Batch `json:"batches"`         // Newest first.
}

func importForm(ctx context.Context, r *service.Request) (service.Response, error) {
	page, err := readImports(ctx, r, int64(numberOf(r.Form, "batch")))
	response := service.Page("catalog/import", "catalog.import_title", page)
	response.Crumbs = crumbs(r, service.Crumb{Title: "catalog.menu_manage", Path: basePath(r) + "/items/manage"})
	return answer(response, err)
}

func readImports(ctx context.Context, r *service.Request, shown int64) (ImportPage, error) {
	var page ImportPage
	err := r.View(ctx, func(v *service.View) error {
		return each(v, func(rows *replication.Rows) error {
			var b Batch
			var text string
			if err := rows.Scan(&text, &b.Account, &b.At, &b.Done); err != nil {
				return err
			}
			if err := json.Unmarshal([]byte(text), &b.Result); err != nil {
				return err
			}
			page.Batches = append(page.Batches, b)
			return nil
		}, `SELECT result, account, at, next >= total FROM catalog_batch ORDER BY id DESC LIMIT ?`, maxHistory)
	})
	for i := range page.Batches {
		if page.Batches[i].Batch == shown {
			page.Shown = &page.Batches[i]
		}
	}
	return page, err
}

func importRows(ctx context.Context, r *service.Request) (service.Response, error) {
	out, err := takeImport(ctx, r)
	if err != nil && service.AsError(err).Code != service.Internal {
		page, viewErr := readImports(ctx, r, 0)
		if viewErr != nil {
			return service.Response{}, viewErr
		}
		out = service.Page("catalog/import", "catalog.import_title", page)
	}
	return out, err
}

func takeImport(ctx context.Context, r *service.Request) (service.Response, error) {
	file, rows, err := rowsOf(r)
	if err != nil {
		return service.Response{}, err
	}
	if err := belongs(rows, r.Tenant.Name); err != nil {
		return service.Response{}, err
	}
	im := Prepare(rows, PrepareOptions{Division: r.Site.Code, Department: r.Tenant.Name, File: file,
		Key: r.Principal.Kind.String() + "|" + r.Principal.Account + "|" + r.Key, Account: r.Principal.Account})
	last := im.Chunks() - 1
	for i := range last {
		if err := r.DB.Update(ctx, func(tx *service.Tx) error {
			_, err := im.Take(tx, i)
			return err
		}); err != nil {
			return service.Response{}, err
		}
	}
	return r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		result, err := im.Take(tx, last)
		if err != nil {
			return service.Response{}, err
		}
		err = tx.Record(service.Event{What: "catalog.imported", Subject: strconv.FormatInt(result.Batch, 10), Who: r.Principal,
			Detail: map[string]string{"rows": strconv.Itoa(result.Rows), "published": strconv.Itoa(result.Published),
				"quarantined": strconv.Itoa(result.Quarantined)}})
		return service.SeeOther(basePath(r)+"/items/import?batch="+strconv.FormatInt(result.Batch, 10), result).
			WithNotice("catalog.imported_notice"), err
	})
}

// rowsOf reads the rows that the request carries, in one of its three forms.
func rowsOf(r *service.Request) (file string, rows []Row, err error) {
	kind, _, _ := mime.ParseMediaType(r.HTTP.Header.Get("Content-Type"))
	switch upload, isForm := r.Files["file"]; {
	case isForm && len(upload.Data) > 0:
		file = upload.Name
		rows, err = ParseCSV(strings.NewReader(string(upload.Data)))
	case kind == "text/csv":
		file = r.HTTP.URL.Query().Get("file")
		rows, err = ParseCSV(strings.NewReader(string(r.Body)))
	case len(r.Body) > 0:
		var body struct {
			File string  `json:"file"`
			Rows rowList `json:"rows"`
		}
		err = r.Decode(&body)
		if many := ErrTooManyRows.With("max", MaxRows); errors.Is(err, many) {
			err = many
		}
		file, rows = body.File, body.Rows
		for i := range rows {
			rows[i].trim()
		}
	default:
		return "", nil, ErrNoFile
	}
	if err == nil && len(rows) == 0 {
		err = ErrNoRows
	}
	return shorten(clean(file), MaxCode), rows, err
}

// rowList are rows of which no more than MaxRows are read: empty ones take eighty times
// the memory that they take in JSON.
type rowList []Row

// UnmarshalJSON implements json.Unmarshaler. It returns ErrTooManyRows.
func (l *rowList) UnmarshalJSON(data []byte) error {
	*l = nil
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	open, err := d.Token()
	if err != nil || open == nil { // null
		return err
	}
	if open != json.Delim('[') {
		return errors.New("rows are a list")
	}
	for d.More() {
		if len(*l) == MaxRows {
			return ErrTooManyRows
		}
		var r Row
		if err := d.Decode(&r); err != nil {
			return err
		}
		*l = append(*l, r)
	}
	return nil
}

// trim makes a row that came as JSON what reading a file would have made of it.
func (r *Row) trim() {
	for _, c := range columns {
		field := c.field(r)
		*field = clean(*field)
	}
	r.Raw = shorten(clean(r.Raw), rawPreview)
}

// belongs refuses a file of several departments none of which is this one.
func belongs(rows []Row, department string) error {
	var names []string
	for _, r := range rows {
		if r.Department == department {
			return nil
		}
		if r.Department != "" && !contains(names, r.Department) {
			names = append(names, r.Department)
		}
	}
	if len(names) < 2 {
		return nil
	}
	return ErrNotHere.With("departments", len(names)).With("department", department)
}

// GuidePage is the form of an item's guide.
type GuidePage struct {
	Item
	Own       Guide     `json:"own"`       // What the department has filled.
	Materials string    `json:"materials"` // Own.Materials, a line each.
	Stood     Effective `json:"-"`         // What stands where the department fills nothing.
}

func guideForm(ctx context.Context, r *service.Request) (service.Response, error) {
	var page GuidePage
	err := r.View(ctx, func(v *service.View) error {
		var err error
		page, err = readGuidePage(v, r.PathValue("code"))
		return err
	})
	return answer(guideResponse(r, page), err)
}

func readGuidePage(q service.Querier, code string) (GuidePage, error) {
	it, err := ReadItem(q, code)
	if err != nil {
		return GuidePage{}, err
	}
	own, _, err := readGuide(q, it.Code)
	return GuidePage{Item: it, Own: own, Materials: formatMaterials(own.Materials),
		Stood: merge(Guide{}, inherit(it.Name, it.MainItem).guide)}, err
}

func guideResponse(r *service.Request, page GuidePage) service.Response {
	response := service.Page("catalog/guide", "catalog.guide_title", page)
	response.Crumbs = crumbs(r, service.Crumb{Title: page.Name, Path: basePath(r) + "/items/" + url.PathEscape(page.Code)})
	return response
}

func saveGuide(ctx context.Context, r *service.Request) (service.Response, error) {
	code := r.PathValue("code")
	g, version, err := guideOfRequest(r)
	var out service.Response
	if err == nil {
		out, err = r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
			it, err := SaveGuide(tx, code, g, version, r.Principal)
			if err != nil {
				return service.Response{}, err
			}
			return service.SeeOther(basePath(r)+"/items/"+url.PathEscape(it.Code), it).WithNotice("catalog.guide_saved"), nil
		})
	}
	if refusal := service.AsError(err); err != nil && refusal.Code == service.Invalid && len(refusal.Fields) > 0 {
		var page GuidePage
		if viewErr := r.View(ctx, func(v *service.View) error {
			page, err = readGuidePage(v, code)
			return err
		}); viewErr != nil {
			return service.Response{}, viewErr
		}
		return guideResponse(r, page), refusal
	}
	return out, err
}

// guideOfRequest reads the department's fields from JSON or from the form.
func guideOfRequest(r *service.Request) (Guide, int, error) {
	if len(r.Body) > 0 {
		var body struct {
			Version int   `json:"version"`
			Guide   Guide `json:"guide"`
		}
		err := r.Decode(&body)
		return body.Guide, body.Version, err
	}
	err := ErrGuideInvalid
	days := func(name string) int {
		text := clean(r.Form.Get(name))
		n, bad := strconv.Atoi(text)
		if text != "" && (bad != nil || n < 1) {
			err = err.Field(name, "catalog.days_wrong")
		}
		return n
	}
	g := Guide{
		Conditions: text(r.Form, "conditions"), Materials: parseMaterials(r.Form.Get("materials")),
		Statutory: days("statutory"), Promise: days("promise"), Instant: r.Form.Get("instant") == "1",
		Fee: text(r.Form, "fee"), Place: text(r.Form, "place"), Phone: text(r.Form, "phone"), Result: text(r.Form, "result"),
	}
	if g.Instant && g.Promise == 0 {
		g.Promise = 1 // What is settled on the spot is settled within the day.
	}
	for line := range strings.Lines(r.Form.Get("basis")) {
		if line = clean(line); line != "" {
			g.Basis = append(g.Basis, line)
		}
	}
	for _, c := range r.Form["channels"] {
		if c == "online" || c == "window" || c == "phone" {
			g.Channels = append(g.Channels, c)
		}
	}
	if v := clean(r.Form.Get("visits")); v != "" {
		n, bad := strconv.Atoi(v)
		if bad != nil {
			err = err.Field("visits", "catalog.visits_wrong")
		}
		g.Visits = &n
	}
	version, bad := strconv.Atoi(r.Form.Get("version"))
	if bad != nil {
		return g, 0, service.ErrInvalid.With("detail", "the form has no version")
	}
	if len(err.Fields) > 0 {
		return g, version, err
	}
	return g, version, nil
}

// text reads a text of several lines from a form.
func text(form url.Values, name string) string {
	var lines []string
	for line := range strings.Lines(form.Get(name)) {
		lines = append(lines, clean(line))
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// VisitsText returns the department's number of visits as its field shows it.
func (p GuidePage) VisitsText() string {
	if p.Own.Visits == nil {
		return ""
	}
	return strconv.Itoa(*p.Own.Visits)
}

// BasisLines returns the department's legal basis, a line each.
func (p GuidePage) BasisLines() string { return strings.Join(p.Own.Basis, "\n") }
