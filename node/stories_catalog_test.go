package node_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"tongban/portal/portaltest"
)

// repairStory: the department's administrator repairs rows in quarantine with the
// suggested code, takes it back, repairs again, releases and finds the item by search;
// then fills in a guide, with a mistake first.
func (d *storyDistrict) repairStory(t *testing.T, i int, l look) {
	base := "/t/" + d.slug(i)
	v := d.visitor(t, "3-tenant-admin", l)
	v.signIn(d.head)
	v.open("/account", 200) // Whoever works for two departments chooses one here.
	v.follow(departments[i].name)
	v.click(fmt.Sprintf(`.tb-menu a[href=%q]`, base+"/items/manage"), 200)
	v.see("manage")
	v.open(base+"/items/quarantine", 200)
	v.see("quarantine")
	v.repairs()
	v.see("repaired")
	v.send("/undo", 200)
	v.see("undone")
	v.open(base+"/items/quarantine", 200)
	v.repairs()
	v.send("/release", 200)
	v.see("released")
	v.open(base+"/items/repairs", 200)
	v.see("repairs")
	d.Await("the released item is found by search", func() bool {
		v.Open(d.URL(0) + "/search?" + url.Values{"q": {departments[i].dirty}}.Encode())
		return strings.Contains(v.Text("main"), departments[i].name)
	})
	v.see("search-released")
	v.fillsGuide(departments[i].dirty)
	v.open(base+"/items/quarantine", 200)
	v.see("quarantine-after")
	v.open(base+"/items/import", 200)
	v.see("import")
	v.send("/items/import", 400)
	v.see("import-nothing")
	v.open("/departments", 200)
	v.see("departments")
	v.open(base+"/items", 200)
	v.see("items")
	v.open(base+"/staff", 200)
	v.see("staff")
	v.open(base+"/staff/new", 200)
	v.fill(map[string]string{"login": "x", "name": "钱经办"})
	v.send("/staff", 400)
	v.see("staff-wrong")
}

// repairs previews the first group that has a suggestion and applies the repair.
func (v *visitor) repairs() {
	v.t.Helper()
	v.click(`main form[action$="/repairs/preview"]:has(input[name=code][type=hidden]) button`, 200)
	v.see("preview")
	v.send("/items/repairs", 200)
}

// fillsGuide opens the item on the search page and fills in its guide.
func (v *visitor) fillsGuide(item string) {
	v.t.Helper()
	v.follow(item)
	v.see("guide-empty")
	v.click(`main a[href$="/guide"]`, 200)
	v.see("edit")
	typed := map[string]string{"conditions": "在本县居住的人员均可申请。", "statutory": "10", "promise": "20", "place": "政务服务中心二楼 3 号窗口，工作日 9:00–17:00", "phone": "0826-2222222", "fee": "0"}
	v.fill(typed)
	v.Check(`input[name=instant][value="0"]`)
	v.send("/guide", 400)
	v.see("edit-wrong")
	v.complains([]string{"promise"}, typed)
	v.fill(map[string]string{"promise": "5"})
	v.send("/guide", 200)
	v.reads("政务服务中心二楼")
	v.see("guide-filled")
	if n := portaltest.Value[int](v.Page, `document.querySelectorAll("main h1").length`); n != 1 {
		v.t.Errorf("the guide has %d headings of the first level", n)
	}
}
