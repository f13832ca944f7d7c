package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/replication"
	"tongban/service"
)

// Limits of an import of the basic catalog.
const (
	maxBad         = 200 // Rows that were not taken, as far as they are listed.
	maxBasicImport = 8 << 20
)

// PermBasic is needed to maintain the basic catalog.
var PermBasic = service.Permission{Name: "catalog.basic", Roles: []service.Role{service.RoleDivisionAdmin, service.RoleOperator}}

// BasicResult counts what an import of the basic catalog did, or would do. New, Changed,
// Unchanged and Rejected add up to Rows.
type BasicResult struct {
	File      string     `json:"file"`
	DryRun    bool       `json:"dry_run"`
	Rows      int        `json:"rows"`
	New       int        `json:"new"`
	Changed   int        `json:"changed"`
	Unchanged int        `json:"unchanged"`
	Rejected  int        `json:"rejected"`
	Removed   int        `json:"removed"`       // Codes that the file does not have; only when it replaces the catalog.
	Bad       []BadBasic `json:"bad,omitempty"` // The first 200 that were rejected.
	Total     int        `json:"total"`         // Items of the catalog afterwards.
}

// basicRequest is what the import route takes.
type basicRequest struct {
	File    string     `json:"file"`
	Rows    []BasicRow `json:"rows"`
	Replace bool       `json:"replace"` // The file is the whole catalog: what it does not have is removed.
	DryRun  bool       `json:"dry_run"`
}

// basicImport is a file, sifted.
type basicImport struct {
	basicRequest
	source division.Ref
	good   []BasicRow
	result BasicResult
}

func importBasic(ctx context.Context, r *service.Request) (service.Response, error) {
	out, err := takeBasicImport(ctx, r)
	if err != nil && service.AsError(err).Code != service.Internal {
		page, pageErr := basicImports(ctx, r)
		if pageErr != nil {
			return service.Response{}, pageErr
		}
		out = page // The form goes back.
	}
	return out, err
}

func takeBasicImport(ctx context.Context, r *service.Request) (service.Response, error) {
	im, err := readBasicImport(r)
	if err != nil {
		return service.Response{}, err
	}
	var gone []string
	if err := r.View(ctx, func(v *service.View) (err error) {
		if err = mayMaintain(v); err == nil {
			gone, err = im.compare(v)
		}
		return err
	}); err != nil {
		return service.Response{}, err
	}
	if im.DryRun {
		im.result.DryRun = true
		return service.Response{Page: "catalog/basic-import", Title: "catalog.basic_import_title", Data: im.result}, nil
	}
	// Small transactions: what is taken already is unchanged when the call is repeated.
	rows, parts := im.good, len(im.good)/chunkRows
	for i := range parts {
		if err := r.DB.Update(ctx, func(tx *service.Tx) error { return im.take(tx, rows[i*chunkRows:(i+1)*chunkRows], nil) }); err != nil {
			return service.Response{}, err
		}
	}
	for chunk := range slices.Chunk(gone, 4*chunkRows) {
		if err := r.DB.Update(ctx, func(tx *service.Tx) error { return im.take(tx, nil, chunk) }); err != nil {
			return service.Response{}, err
		}
	}
	return r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		if err := im.take(tx, rows[parts*chunkRows:], nil); err != nil {
			return service.Response{}, err
		}
		result, err := im.finish(tx, r.Principal)
		return service.SeeOther("/basic/imports", result).WithNotice("catalog.basic_imported"), err
	})
}

// readBasicImport reads the request: JSON, text/csv, or a form with a file.
func readBasicImport(r *service.Request) (*basicImport, error) {
	im := &basicImport{}
	kind, _, _ := mime.ParseMediaType(r.HTTP.Header.Get("Content-Type"))
	var err error
	switch upload, isForm := r.Files["file"]; {
	case isForm && len(upload.Data) > 0:
		im.File, im.Replace, im.DryRun = upload.Name, r.Form.Get("replace") != "", r.Form.Get("dry_run") != ""
		im.Rows, err = ParseBasicCSV(strings.NewReader(string(upload.Data)))
	case kind == "text/csv":
		q := r.HTTP.URL.Query()
		im.File, im.Replace, im.DryRun = q.Get("file"), q.Get("replace") != "", q.Get("dry_run") != ""
		im.Rows, err = ParseBasicCSV(strings.NewReader(string(r.Body)))
	case len(r.Body) > 0:
		err = r.Decode(&im.basicRequest)
		for i := range im.Rows {
			im.Rows[i].trim()
		}
	default:
		return nil, ErrNoFile
	}
	switch {
	case err != nil:
		return nil, err
	case len(im.Rows) == 0:
		return nil, ErrNoRows
	case len(im.Rows) > MaxBasicRows:
		return nil, ErrTooManyRows.With("max", MaxBasicRows)
	}
	if im.source, err = selfOf(r.Site); err != nil {
		return nil, err
	}
	var bad []BadBasic
	im.good, bad = sift(im.Rows)
	im.result = BasicResult{File: shorten(clean(im.File), MaxCode), Rows: len(im.Rows), Rejected: len(bad), Bad: bad[:min(len(bad), maxBad)]}
	if len(im.good) == 0 && !im.DryRun {
		return nil, ErrNothingGood.With("rows", len(bad))
	}
	return im, im.mayReplace(bad)
}

// mayReplace refuses to take a file for the whole catalog when a code in it may be one
// that could not be read.
func (im *basicImport) mayReplace(bad []BadBasic) error {
	unread := 0
	for _, b := range bad {
		if !hasKind(b.Reasons, Duplicate) {
			unread++
		}
	}
	if im.Replace && unread > 0 {
		return ErrNotWhole.With("rows", unread)
	}
	return nil
}

// mayMaintain refuses when the basic catalog comes from the parent.
func mayMaintain(q service.Querier) error {
	parent, has, err := federation.ReadParent(q)
	if err == nil && has {
		return ErrFromParent.With("parent", parent.Ref.String())
	}
	return err
}

// compare counts what the import does to the catalog as it is, and returns the codes that
// it removes.
func (im *basicImport) compare(q service.Querier) (gone []string, err error) {
	have := map[string]basicEntry{}
	if err := each(q, func(rows *replication.Rows) error {
		b, err := scanBasic(rows)
		have[b.Code] = entryOf(b)
		return err
	}, `SELECT `+basicColumns+` FROM catalog_basic`); err != nil {
		return nil, err
	}
	total := len(have)
	for i := range im.good {
		old, known := have[im.good[i].Code]
		switch {
		case !known:
			im.result.New++
		case old.same(im.good[i].entry()):
			im.result.Unchanged++
		default:
			im.result.Changed++
		}
		delete(have, im.good[i].Code)
	}
	if im.Replace {
		for code := range have {
			gone = append(gone, code)
		}
		slices.Sort(gone)
	}
	im.result.Removed = len(gone)
	im.result.Total = total + im.result.New - len(gone)
	return gone, nil
}

// take writes rows and removes codes, and tells the divisions below.
func (im *basicImport) take(tx *service.Tx, rows []BasicRow, gone []string) error {
	if err := mayMaintain(tx); err != nil {
		return err // The division was enrolled meanwhile.
	}
	for _, r := range rows {
		e := r.entry()
		old, err := readOneBasic(tx, r.Code)
		if err == nil && entryOf(old).same(e) {
			continue
		}
		if err != nil && !errors.Is(err, ErrNoBasic) {
			return err
		}
		e.Version, e.Source = old.Version+1, im.source
		if err := e.store(tx, r.Code, ""); err != nil {
			return fmt.Errorf("take line %d of the basic catalog: %w", r.Line, err)
		}
	}
	for _, code := range gone {
		if err := removeBasic(tx, code, ""); err != nil {
			return err
		}
	}
	return nil
}

// finish keeps the result of the import.
func (im *basicImport) finish(tx *service.Tx, who service.Principal) (BasicResult, error) {
	text, err := json.Marshal(im.result)
	if err != nil {
		return im.result, err
	}
	id, err := tx.Next("catalog_basic_import")
	if err != nil {
		return im.result, err
	}
	if err := tx.Exec(`INSERT INTO catalog_basic_import (id, file, result, account, at) VALUES (?, ?, ?, ?, ?)`,
		id, im.result.File, string(text), who.Account, tx.Now()); err != nil {
		return im.result, err
	}
	if err := tx.Exec(`DELETE FROM catalog_basic_import WHERE id <= ?`, id-maxHistory); err != nil {
		return im.result, err
	}
	return im.result, tx.Record(service.Event{What: "catalog.basic_imported", Subject: strconv.FormatInt(id, 10), Who: who,
		Detail: map[string]string{"rows": strconv.Itoa(im.result.Rows), "rejected": strconv.Itoa(im.result.Rejected),
			"removed": strconv.Itoa(im.result.Removed)}})
}

// BasicImport is an import of the basic catalog that was made.
type BasicImport struct {
	BasicResult
	Account string    `json:"account"`
	At      time.Time `json:"at"`
}

// BasicImportsPage lists the imports of the basic catalog, the newest first.
type BasicImportsPage struct {
	Imports []BasicImport `json:"imports"`
	Parent  string        `json:"parent,omitempty"` // Reference of the parent, from which the catalog comes instead.
}

func basicImports(ctx context.Context, r *service.Request) (service.Response, error) {
	var page BasicImportsPage
	err := r.View(ctx, func(v *service.View) error {
		parent, _, err := federation.ReadParent(v)
		if err != nil {
			return err
		}
		page.Parent = parent.Ref.String()
		return each(v, func(rows *replication.Rows) error {
			var text string
			var one BasicImport
			if err := rows.Scan(&text, &one.Account, &one.At); err != nil {
				return err
			}
			err := json.Unmarshal([]byte(text), &one.BasicResult)
			page.Imports = append(page.Imports, one)
			return err
		}, `SELECT result, account, at FROM catalog_basic_import ORDER BY id DESC`)
	})
	response := service.Page("catalog/basic-imports", "catalog.basic_imports_title", page)
	response.Crumbs = basicCrumbs()
	return answer(response, err)
}
