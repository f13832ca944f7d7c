package catalog_test

import (
	"net/url"
	"testing"

	"tongban/service/catalog"
	"tongban/service/servicetest"
)

func TestAnItemInheritsByNameShowsWhatIsMissingAndIsFilledByItsDepartment(t *testing.T) {
	w := newWorld(t)
	w.take([]catalog.Row{
		{Line: 2, Department: "区民政局", Name: "社会保障卡 挂失", Type: "20", Basic: "511A00000001", Body: goodBody,
			Code: "511A00000001-511602000000-000-" + goodBody + "-1-00"},
		{Line: 3, Department: "区民政局", Name: "本县独有的事项", Type: "20", Basic: "511A00000002", Body: goodBody,
			Code: "511A00000002-511602000000-000-" + goodBody + "-1-00"},
	})
	known, unknown := "511A00000001-511602000000-000-"+goodBody+"-1-00", "511A00000002-511602000000-000-"+goodBody+"-1-00"
	var page catalog.ItemPage
	w.ok("GET "+itemURL(known), nil, &page)
	g := page.Item.Guide
	if page.Match != catalog.ByName || g.From["materials"] != catalog.Inherited || g.From["place"] != catalog.Missing ||
		g.Materials == nil || g.Promise < 1 || g.Completeness.Own != 0 || g.Completeness.Total() != 11 {
		t.Errorf("inherited: match %q, %+v", page.Match, g)
	}
	var other catalog.ItemPage
	w.ok("GET "+itemURL(unknown), nil, &other)
	if other.Match != catalog.NoMatch || other.Item.Guide.Completeness.Missing != 11 {
		t.Errorf("an unknown item inherits: %q %+v", other.Match, other.Item.Guide)
	}

	form := url.Values{"version": {"0"}, "statutory": {"20"}, "promise": {"21"}, "place": {"一楼3号窗口"}, "materials": {"申请表 | 表格\n户口簿 | 原件 | 非必要"}}
	_, err := w.Call("POST "+itemURL(known)+"/guide", servicetest.TenantAdmin(tenant), form)
	if refusalFields(err)["promise"] != "catalog.promise_exceeds" {
		t.Errorf("a promise above the statutory limit: %v", err)
	}
	form.Set("promise", "五")
	if _, err = w.Call("POST "+itemURL(known)+"/guide", servicetest.TenantAdmin(tenant), form); refusalFields(err)["promise"] != "catalog.days_wrong" {
		t.Errorf("a promise that is no number: %v", err)
	}
	form.Set("promise", "5")
	var it catalog.Item
	w.ok("POST "+itemURL(known)+"/guide", form, &it)
	if it.Version != 1 || it.Guide.Completeness.Own != 4 || it.Guide.Promise != 5 || len(*it.Guide.Materials) != 2 || (*it.Guide.Materials)[1].Required {
		t.Errorf("saved %+v", it)
	}
	form.Set("version", "1")
	form.Set("promise", "")
	form.Set("instant", "1")
	w.ok("POST "+itemURL(known)+"/guide", form, &it)
	if !it.Guide.Instant || it.Guide.Promise != 1 {
		t.Errorf("an item settled on the spot is saved as %+v", it.Guide)
	}
	form.Set("version", "0")
	form.Set("promise", "5")
	w.refused("catalog.guide_stale", "POST "+itemURL(known)+"/guide", form)
	w.refused("catalog.no_item", "POST "+itemURL("511Z")+"/guide", form)
	form.Set("version", "2")
	form.Set("statutory", "")
	form.Set("promise", "900")
	if _, err = w.Call("POST "+itemURL(known)+"/guide", servicetest.TenantAdmin(tenant), form); refusalFields(err)["promise"] != "catalog.promise_exceeds" {
		t.Errorf("a promise above the inherited statutory limit: %v", err)
	}
	w.fold(tenant)
	if found := w.search("社保卡丢了"); found.Total != 1 || found.Hits[0].Promise != 1 || found.Hits[0].Inherited {
		t.Errorf("search does not show the department's promise: %+v", found.Hits)
	}
	if n := w.Count(w.Division, `SELECT own FROM catalog_department`); n != 4 {
		t.Errorf("the division counts %d filled fields, want 4", n)
	}
}
