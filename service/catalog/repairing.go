package catalog

import (
	"context"
	"strconv"
	"strings"

	"tongban/replication"
	"tongban/service"
)

// QuarantinePage lists what could not be published.
type QuarantinePage struct {
	Counts  Counts        `json:"counts"`
	Groups  []Group       `json:"groups"`
	Bodies  []Body        `json:"bodies"` // The department's verified codes.
	State   string        `json:"state"`
	Kinds   *string       `json:"kinds,omitempty"` // The group shown.
	Body    *string       `json:"body,omitempty"`
	Rows    []Quarantined `json:"rows"`
	Page    int           `json:"page"`
	PerPage int           `json:"per_page"`
	Total   int           `json:"total"`
}

func quarantine(ctx context.Context, r *service.Request) (service.Response, error) {
	page, err := readQuarantine(ctx, r)
	return answer(quarantineResponse(r, page), err)
}

func quarantineResponse(r *service.Request, page QuarantinePage) service.Response {
	response := service.Page("catalog/quarantine", "catalog.quarantine_title", page)
	response.Crumbs = crumbs(r)
	return response
}

func readQuarantine(ctx context.Context, r *service.Request) (QuarantinePage, error) {
	page := QuarantinePage{State: stateQuarantined, Page: max(1, numberOf(r.Form, "page")), PerPage: PerPage}
	if r.Form.Get("state") == stateRepaired {
		page.State = stateRepaired
	}
	if r.Form.Has("kinds") {
		kinds := r.Form.Get("kinds")
		page.Kinds = &kinds
	}
	if r.Form.Has("body") {
		body := r.Form.Get("body")
		page.Body = &body
	}
	err := r.View(ctx, func(v *service.View) error {
		var err error
		if page.Counts, err = ReadCounts(v); err != nil {
			return err
		}
		if page.Groups, err = ReadGroups(v); err != nil {
			return err
		}
		if page.Bodies, err = ReadBodies(v); err != nil {
			return err
		}
		page.Rows, page.Total, err = ReadQuarantined(v, []string{page.State}, page.Kinds, page.Body, page.Page, page.PerPage)
		return err
	})
	return page, err
}

func addBody(ctx context.Context, r *service.Request) (service.Response, error) {
	var body struct {
		Code     string `json:"code"`
		Evidence string `json:"evidence"`
	}
	if len(r.Body) > 0 {
		if err := r.Decode(&body); err != nil {
			return service.Response{}, err
		}
	} else {
		body.Code, body.Evidence = r.Form.Get("code"), r.Form.Get("evidence")
	}
	body.Code, body.Evidence = strings.ToUpper(clean(body.Code)), clean(body.Evidence)
	return r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		err := AddBody(tx, body.Code, body.Evidence, r.Principal)
		return service.SeeOther(basePath(r)+"/items/quarantine", Body{Code: body.Code, Evidence: body.Evidence}).
			WithNotice("catalog.body_added"), err
	})
}

// repairCall is what a repair is asked for with.
type repairCall struct {
	Select   Selection `json:"select"`
	Code     string    `json:"code"`
	Evidence string    `json:"evidence"`
	DryRun   bool      `json:"dry_run"`
}

func repairCallOf(r *service.Request) (repairCall, error) {
	var c repairCall
	if len(r.Body) > 0 {
		err := r.Decode(&c)
		return c, err
	}
	c.Code, c.Evidence, c.DryRun = r.Form.Get("code"), r.Form.Get("evidence"), r.Form.Get("dry_run") == "1"
	c.Select = Selection{Kind: Kind(r.Form.Get("kind")), Kinds: r.Form.Get("kinds")}
	if r.Form.Has("body") {
		body := r.Form.Get("body")
		c.Select.Body = &body
	}
	for _, text := range r.Form["id"] {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return c, service.ErrInvalid.With("detail", "a row's id is no number")
		}
		c.Select.IDs = append(c.Select.IDs, id)
	}
	return c, nil
}

// PreviewPage is a repair before it is applied.
type PreviewPage struct {
	Preview
	Evidence string `json:"evidence,omitempty"`
}

// Fields returns the hidden fields with which the preview is applied.
func (p PreviewPage) Fields() []Topic {
	s := p.Selection
	out := []Topic{{"code", p.Code}}
	if s.Kind != "" {
		out = append(out, Topic{"kind", string(s.Kind)})
	}
	if s.Kinds != "" {
		out = append(out, Topic{"kinds", s.Kinds})
	}
	if s.Body != nil {
		out = append(out, Topic{"body", *s.Body})
	}
	for _, id := range s.IDs {
		out = append(out, Topic{"id", strconv.FormatInt(id, 10)})
	}
	return out
}

func preview(ctx context.Context, r *service.Request) (service.Response, error) {
	return previewOf(ctx, r, nil)
}

// previewOf answers with the preview, together with a refusal of applying it.
func previewOf(ctx context.Context, r *service.Request, refusal error) (service.Response, error) {
	c, err := repairCallOf(r)
	if err != nil {
		return service.Response{}, err
	}
	page := PreviewPage{Evidence: c.Evidence}
	if err := r.View(ctx, func(v *service.View) error {
		page.Preview, err = PreviewRepair(v, c.Select, c.Code)
		return err
	}); err != nil {
		return backToQuarantine(ctx, r, err)
	}
	response := service.Page("catalog/preview", "catalog.preview_title", page)
	response.Crumbs = crumbs(r, service.Crumb{Title: "catalog.menu_quarantine", Path: basePath(r) + "/items/quarantine"})
	return response, refusal
}

// backToQuarantine shows the quarantine with what was wrong about the code that was asked
// for.
func backToQuarantine(ctx context.Context, r *service.Request, refusal error) (service.Response, error) {
	if service.AsError(refusal).Code == service.Internal {
		return service.Response{}, refusal
	}
	page, err := readQuarantine(ctx, r)
	if err != nil {
		return service.Response{}, err
	}
	return quarantineResponse(r, page), refusal
}

func applyRepair(ctx context.Context, r *service.Request) (service.Response, error) {
	c, err := repairCallOf(r)
	if err != nil {
		return service.Response{}, err
	}
	if c.DryRun {
		return previewOf(ctx, r, nil)
	}
	out, err := r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		done, err := ApplyRepair(tx, c.Select, c.Code, c.Evidence, r.Principal)
		if err != nil {
			return service.Response{}, err
		}
		return service.SeeOther(repairPath(r, done.ID), done).WithNotice("catalog.repair_applied"), nil
	})
	if refusal := service.AsError(err); err != nil && refusal.Code != service.Internal && r.Form.Has("code") {
		return previewOf(ctx, r, refusal)
	}
	return out, err
}

func repairPath(r *service.Request, id int64) string {
	return basePath(r) + "/repairs/" + strconv.FormatInt(id, 10)
}

// RepairsPage is the history of repairs.
type RepairsPage struct {
	Repairs []Repair `json:"repairs"` // Newest first.
}

func repairs(ctx context.Context, r *service.Request) (service.Response, error) {
	var page RepairsPage
	err := r.View(ctx, func(v *service.View) error {
		var err error
		page.Repairs, err = ReadRepairs(v)
		return err
	})
	response := service.Page("catalog/repairs", "catalog.repairs_title", page)
	response.Crumbs = crumbs(r, service.Crumb{Title: "catalog.menu_quarantine", Path: basePath(r) + "/items/quarantine"})
	return answer(response, err)
}

func repair(ctx context.Context, r *service.Request) (service.Response, error) {
	id, err := repairID(r)
	if err != nil {
		return service.Response{}, err
	}
	return repairResponse(ctx, r, id, nil)
}

func repairID(r *service.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return 0, ErrNoRepair
	}
	return id, nil
}

// repairResponse shows a repair, together with the refusal of a change to it.
func repairResponse(ctx context.Context, r *service.Request, id int64, refusal error) (service.Response, error) {
	var page Repair
	err := r.View(ctx, func(v *service.View) error {
		var err error
		if page, err = ReadRepair(v, id); err != nil {
			return err
		}
		return readHeld(v, &page)
	})
	if err != nil {
		return service.Response{}, err
	}
	response := service.Page("catalog/repair", "catalog.repair", page)
	response.Crumbs = crumbs(r, service.Crumb{Title: "catalog.repairs_title", Path: basePath(r) + "/items/repairs"})
	return response, refusal
}

// readHeld finds the rows of a repair that a release left in quarantine.
func readHeld(q service.Querier, page *Repair) error {
	if page.State != repairReleased {
		return nil
	}
	waiting := map[int64]bool{}
	if err := each(q, func(rows *replication.Rows) error {
		var id int64
		err := rows.Scan(&id)
		waiting[id] = true
		return err
	}, `SELECT id FROM catalog_quarantine WHERE repair = ? AND state = 'repaired'`, page.ID); err != nil {
		return err
	}
	for _, c := range page.Changes {
		if waiting[c.Row] {
			page.Held = append(page.Held, c)
		}
	}
	return nil
}

func undoRepair(ctx context.Context, r *service.Request) (service.Response, error) {
	takeBack := r.Form.Get("take_back") == "1"
	if len(r.Body) > 0 {
		var body struct {
			TakeBack bool `json:"take_back"`
		}
		if err := r.Decode(&body); err != nil {
			return service.Response{}, err
		}
		takeBack = body.TakeBack
	}
	return changeRepair(ctx, r, "catalog.repair_undone_notice", func(tx *service.Tx, id int64) (Repair, error) {
		return UndoRepair(tx, id, takeBack, r.Principal)
	})
}

func releaseRepair(ctx context.Context, r *service.Request) (service.Response, error) {
	return changeRepair(ctx, r, "catalog.repair_released_notice", func(tx *service.Tx, id int64) (Repair, error) {
		return ReleaseRepair(tx, id, r.Principal)
	})
}

// changeRepair commits a change of a repair and shows it, or shows why not.
func changeRepair(ctx context.Context, r *service.Request, notice string,
	change func(tx *service.Tx, id int64) (Repair, error)) (service.Response, error) {
	id, err := repairID(r)
	if err != nil {
		return service.Response{}, err
	}
	out, err := r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		page, err := change(tx, id)
		if err != nil {
			return service.Response{}, err
		}
		return service.SeeOther(repairPath(r, id), page).WithNotice(notice), nil
	})
	if refusal := service.AsError(err); err != nil && refusal.Code == service.Conflict {
		return repairResponse(ctx, r, id, refusal)
	}
	return out, err
}
