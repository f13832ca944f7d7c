package catalog_test

import (
	"fmt"
	"strings"
	"testing"

	"tongban/division/uscc"
	"tongban/service"
	"tongban/service/catalog"
	"tongban/service/servicetest"
)

// Codes of the tests: valid by GB 32100, of no real body.
var (
	goodBody  = mustBody("11511602000000001")
	otherBody = mustBody("12511602000000002")
)

// mustBody completes 17 characters with their check character.
func mustBody(first string) string {
	for _, c := range "0123456789ABCDEFGHJKLMNPQRTUWXY" {
		if code := first + string(c); uscc.Valid(code) {
			return code
		}
	}
	panic(first)
}

// brokenRows are one good row and n rows whose code lacks a character.
func brokenRows(n int) []catalog.Row {
	row := func(i int, body string) catalog.Row {
		return catalog.Row{Line: i + 2, Department: "区民政局", Name: fmt.Sprintf("测试事项%03d号", i), Type: "7", Area: "511602000000",
			Basic: fmt.Sprintf("511A%08d", i), Body: body, Code: fmt.Sprintf("511A%08d-511602000000-000-%s-1-00", i, body)}
	}
	rows := []catalog.Row{row(0, goodBody)}
	for i := 1; i <= n; i++ {
		rows = append(rows, row(i, goodBody[:10]+goodBody[11:]))
	}
	return rows
}

func repairBody(rows []catalog.Row, dry bool) map[string]any {
	return map[string]any{"select": map[string]any{"body": rows[1].Body}, "code": goodBody, "dry_run": dry}
}

func TestABulkRepairIsPreviewedAppliedReleasedAndFoundByItsOldCode(t *testing.T) {
	w := newWorld(t)
	rows := brokenRows(63)
	w.take(rows)
	var page catalog.QuarantinePage
	w.ok("GET /t/"+tenant+"/items/quarantine", nil, &page)
	if len(page.Groups) != 1 || page.Groups[0].Rows != 63 || page.Groups[0].Suggestion == nil || page.Groups[0].Suggestion.Code != goodBody {
		t.Fatalf("groups %+v", page.Groups)
	}
	var preview catalog.Preview
	w.ok("POST /t/"+tenant+"/items/repairs", repairBody(rows, true), &preview)
	if len(preview.Rows) != 63 || !preview.Verified || preview.Warnings != 0 {
		t.Fatalf("preview of %d rows, verified %v, %d warnings", len(preview.Rows), preview.Verified, preview.Warnings)
	}
	if c := preview.Rows[0]; c.NewCode != strings.ReplaceAll(rows[1].Code, rows[1].Body, goodBody) {
		t.Errorf("the new code is %s", c.NewCode)
	}
	if n := w.Count(w.db(), `SELECT count(*) FROM catalog_quarantine WHERE state <> 'quarantined'`); n != 0 {
		t.Fatalf("a preview changed %d rows", n)
	}
	var repair catalog.Repair
	w.ok("POST /t/"+tenant+"/items/repairs", repairBody(rows, false), &repair)
	w.ok(fmt.Sprintf("POST /t/%s/repairs/%d/release", tenant, repair.ID), nil, &repair)
	if repair.Released != 63 || w.Count(w.db(), `SELECT count(*) FROM catalog_item`) != 64 {
		t.Fatalf("released %d", repair.Released)
	}
	it, err := w.item(rows[1].Code)
	if err != nil || it.BodyCode != goodBody || len(it.Former) != 1 || it.Name != rows[1].Name {
		t.Errorf("the old code finds %+v, %v", it, err)
	}
	w.fold(tenant)
	if found := w.search(rows[5].Name); found.Total == 0 || found.Hits[0].Name != rows[5].Name {
		t.Errorf("search does not find the released item: %+v", found)
	}
	if found := w.search(rows[5].Code); found.Total == 0 || found.Hits[0].Name != rows[5].Name {
		t.Errorf("search does not find the former code: %s", first(found.Hits, 3))
	}
	if again := w.take(rows); again.Unchanged != 64 {
		t.Errorf("the file again after the release did %+v", again)
	}
	if n := w.Count(w.Division, `SELECT published FROM catalog_department`); n != 64 {
		t.Errorf("the division counts %d published items", n)
	}
}

func TestARepairIsUndoneUnlessRowsChangedOrCasesRefer(t *testing.T) {
	w := newWorld(t)
	rows := brokenRows(3)
	w.take(rows)
	var repair catalog.Repair
	w.ok("POST /t/"+tenant+"/items/repairs", repairBody(rows, false), &repair)
	undo := func() string { return fmt.Sprintf("POST /t/%s/repairs/%d/undo", tenant, repair.ID) }
	w.ok(undo(), nil, &repair)
	if repair.State != "undone" || w.Count(w.db(), `SELECT count(*) FROM catalog_quarantine WHERE state = 'quarantined' AND new_code = ''`) != 3 {
		t.Fatalf("after undo: %+v", repair)
	}
	w.refused("catalog.repair_undone", undo(), nil)

	w.ok("POST /t/"+tenant+"/items/repairs", repairBody(rows, false), &repair)
	changed := append([]catalog.Row(nil), rows...)
	changed[2].Name += "改"
	w.take(changed)
	w.refused("catalog.repair_changed", undo(), nil)

	rows = brokenRows(3)
	w = newWorld(t)
	w.take(rows)
	w.ok("POST /t/"+tenant+"/items/repairs", repairBody(rows, false), &repair)
	w.ok(fmt.Sprintf("POST /t/%s/repairs/%d/release", tenant, repair.ID), nil, &repair)
	w.refused("catalog.repair_released", undo(), nil)
	w.refused("catalog.nothing_to_release", fmt.Sprintf("POST /t/%s/repairs/%d/release", tenant, repair.ID), nil)
	code := repair.Changes[0].NewCode
	w.Update(w.db(), func(tx *service.Tx) error { return catalog.Refer(tx, code) })
	w.refused("catalog.repair_in_use", undo(), map[string]any{"take_back": true})
	if n := w.Count(w.db(), `SELECT count(*) FROM catalog_item`); n != 4 {
		t.Fatalf("a refused undo left %d items", n)
	}
	w.Update(w.db(), func(tx *service.Tx) error { return tx.Exec(`UPDATE catalog_item SET referred = NULL`) })
	w.ok(undo(), map[string]any{"take_back": true}, &repair)
	if _, err := w.item(rows[1].Code); servicetest.Reason(err) != "catalog.no_item" {
		t.Errorf("after taking back, the old code finds something: %v", err)
	}
	w.fold(tenant)
	if found := w.search(rows[1].Name); found.Total != 1 || found.Hits[0].Name == rows[1].Name {
		t.Errorf("search still has the item that was taken back: %s", first(found.Hits, 5))
	}
}

func TestARepairNeedsAValidCodeThatIsTheDepartmentsOrVouchedFor(t *testing.T) {
	w := newWorld(t)
	rows := brokenRows(2)
	w.take(rows)
	call := func(code, evidence string) map[string]any {
		return map[string]any{"select": map[string]any{"kind": "body_17"}, "code": code, "evidence": evidence}
	}
	path := "POST /t/" + tenant + "/items/repairs"
	w.refused("catalog.body_invalid", path, call(goodBody[:17]+"0", ""))
	w.refused("catalog.body_unverified", path, call(otherBody, ""))
	w.refused("catalog.selection_empty", path, map[string]any{"select": map[string]any{"kind": "body_9"}, "code": goodBody})
	w.refused("catalog.selection_empty", path, map[string]any{"select": map[string]any{}, "code": goodBody})
	w.refused("catalog.no_repair", "POST /t/"+tenant+"/repairs/77/undo", nil)
	var repair catalog.Repair
	w.ok(path, call(otherBody, "事业单位法人证书第1号"), &repair)
	if repair.Rows != 2 {
		t.Errorf("repaired %d rows", repair.Rows)
	}
	var page catalog.QuarantinePage
	w.ok("GET /t/"+tenant+"/items/quarantine?state=repaired", nil, &page)
	if len(page.Bodies) != 2 || page.Bodies[1].Evidence == "" || page.Total != 2 {
		t.Errorf("bodies %+v, %d repaired", page.Bodies, page.Total)
	}
}

func TestAReleaseLeavesRowsWhoseNewCodeIsTaken(t *testing.T) {
	w := newWorld(t)
	rows := brokenRows(2)
	fixed := rows[1]
	fixed.Body, fixed.Code = goodBody, strings.ReplaceAll(rows[1].Code, rows[1].Body, goodBody)
	w.take(append(rows, fixed))
	var preview catalog.Preview
	w.ok("POST /t/"+tenant+"/items/repairs", repairBody(rows, true), &preview)
	if preview.Warnings != 1 || preview.Rows[0].Warnings[0] != catalog.WarnTaken {
		t.Errorf("the preview does not warn: %+v", preview.Rows)
	}
	var repair catalog.Repair
	w.ok("POST /t/"+tenant+"/items/repairs", repairBody(rows, false), &repair)
	w.ok(fmt.Sprintf("POST /t/%s/repairs/%d/release", tenant, repair.ID), nil, &repair)
	if repair.Released != 1 || len(repair.Held) != 1 || repair.Held[0].OldCode != rows[1].Code {
		t.Errorf("released %d, held %+v", repair.Released, repair.Held)
	}
}

func TestAnItemThatALaterImportPublishedIsNotTakenBackAndKeepsItsFormerCode(t *testing.T) {
	w := newWorld(t)
	rows := brokenRows(1)
	w.take(rows)
	var repair catalog.Repair
	w.ok("POST /t/"+tenant+"/items/repairs", repairBody(rows, false), &repair)
	w.ok(fmt.Sprintf("POST /t/%s/repairs/%d/release", tenant, repair.ID), nil, &repair)
	fixed := rows[1]
	fixed.Body, fixed.Code = goodBody, repair.Changes[0].NewCode
	if got := w.take([]catalog.Row{fixed}); got.Updated != 1 {
		t.Fatalf("the corrected row did %+v", got)
	}
	w.refused("catalog.repair_changed", fmt.Sprintf("POST /t/%s/repairs/%d/undo", tenant, repair.ID), map[string]any{"take_back": true})
	w.fold(tenant)
	if found := w.search(rows[1].Code); found.Total != 1 || found.Hits[0].Code != fixed.Code {
		t.Errorf("the former code finds %s", first(found.Hits, 3))
	}
}

func TestAGroupLargerThanOneRepairIsRepairedInParts(t *testing.T) {
	w := newWorld(t)
	rows := brokenRows(120)
	w.take(rows)
	for _, want := range []struct{ rows, rest int }{{100, 20}, {20, 0}} {
		var preview catalog.Preview
		w.ok("POST /t/"+tenant+"/items/repairs", repairBody(rows, true), &preview)
		var repair catalog.Repair
		w.ok("POST /t/"+tenant+"/items/repairs", repairBody(rows, false), &repair)
		if len(preview.Rows) != want.rows || preview.Rest != want.rest || repair.Rows != want.rows {
			t.Errorf("preview %d and %d more, repaired %d; want %+v", len(preview.Rows), preview.Rest, repair.Rows, want)
		}
	}
}

func TestPagesAnswerForWhatIsNotThere(t *testing.T) {
	w := newWorld(t)
	w.take(brokenRows(1))
	for path, reason := range map[string]string{
		"/items/511Z":       "catalog.no_item",
		"/items/511Z/guide": "catalog.no_item",
		"/repairs/1":        "catalog.no_repair",
		"/repairs/one":      "catalog.no_repair",
		"/items/repairs/preview?code=1&kinds=body_17":     "catalog.body_invalid",
		"/items/repairs/preview?kinds=x&code=" + goodBody: "catalog.selection_empty",
		"/items/repairs/preview?id=x&code=" + goodBody:    "invalid",
	} {
		w.refused(reason, "GET /t/"+tenant+path, nil)
	}
	for _, path := range []string{"/items?page=9999&q=%27&type=x", "/items/manage?sort=DROP&page=-1", "/items/import?batch=99",
		"/items/quarantine?kinds=&body=&page=77", "/items/repairs"} {
		w.ok("GET /t/"+tenant+path, nil, nil)
	}
	for _, path := range []string{"/", "/departments", "/search?q=%00&page=1e9&audience=x&type=-1&department=nowhere"} {
		if _, err := w.Call("GET "+path, servicetest.Citizen(), nil); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
