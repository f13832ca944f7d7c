package catalog_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tongban/replication"
	"tongban/service"
	"tongban/service/catalog"
)

func TestSearchFindsWhatPeopleTypeInTheirOwnWords(t *testing.T) {
	w := newWorld(t)
	w.take(demoRows(t, "", false))
	w.fold(tenant)
	for _, c := range []struct{ typed, first, holds string }{
		{typed: "社保", holds: "社会保险"},
		{typed: "户口", holds: "户口"},
		{typed: "医", holds: "医"},
		{typed: "身份证", holds: "居民身份证"},
		{typed: "失业保险金申领", first: "失业保险金申领"},
		{typed: "失业登记", first: "失业登记"},
		{typed: "社保卡丢了", holds: "社会保障卡"},
		{typed: "社保卡丢了怎么办", holds: "社会保障卡"},
		{typed: "社保卡丢了该找谁呀", holds: "社会保障卡"},
		{typed: "医保", holds: "医"},
		{typed: "shebao", holds: "社会"},
		{typed: "SHEBAO", holds: "社会"},
		{typed: "ｓｈｅｂａｏ", holds: "社会"},
		{typed: "shiyedengji", first: "失业登记"},
		{typed: "sydj", holds: "失业登记"},
		{typed: "social security card", holds: "社会保障卡"},
		{typed: "sb", holds: "社会"},
		{typed: "hkb", holds: "户口"},
		{typed: "结婚证", holds: "结婚登记"},
		{typed: "我要开饭店", holds: "食品"},
		{typed: `"社保"`, holds: "社会"},
		{typed: "社保*", holds: "社会"},
		{typed: "NEAR(社保", holds: "社会"},
		{typed: "-社保", holds: "社会"},
		{typed: "name:社保", holds: "社会"},
		{typed: "社保 OR 1=1", holds: "社会"},
		{typed: "社保 😀", holds: "社会"},
	} {
		found := w.search(c.typed)
		if found.Total == 0 {
			t.Errorf("%q finds nothing", c.typed)
			continue
		}
		if got := found.Hits[0].Name; c.first != "" && got != c.first {
			t.Errorf("%q finds %q first, want %q (%s)", c.typed, got, c.first, first(found.Hits, 3))
		}
		if all := first(found.Hits, 10); !strings.Contains(all, c.holds) {
			t.Errorf("%q finds %s, want one with %q", c.typed, all, c.holds)
		}
	}
	for _, typed := range []string{"😀", `"`, "*", "()", "-", ":", "!!!", "量子纠缠"} {
		if found := w.search(typed); found.Total != 0 {
			t.Errorf("%q finds %s, want nothing", typed, first(found.Hits, 3))
		}
	}
	all := w.search("")
	if all.Total < 300 || len(all.Hits) != catalog.PerPage {
		t.Errorf("an empty query finds %d, %d on the page", all.Total, len(all.Hits))
	}
}

func TestSearchPagesFiltersAndMarks(t *testing.T) {
	w := newWorld(t)
	w.take(demoRows(t, "", false))
	w.fold(tenant)
	seen := map[string]bool{}
	var total int
	w.View(w.Division, func(v *service.View) error {
		for page := 1; ; page++ {
			found, err := catalog.Search(v, "登记", catalog.Filter{Audience: "firm"}, page)
			if err != nil {
				return err
			}
			total = found.Total
			if found.Page != page {
				return nil // A page after the last is the last.
			}
			for _, h := range found.Hits {
				if seen[h.Code] || h.Audience&2 == 0 {
					t.Errorf("%s is doubled or for persons only", h.Name)
				}
				seen[h.Code] = true
				marked := ""
				for _, s := range h.Marked {
					if s.Hit {
						marked += s.Text
					}
				}
				if strings.Contains(h.Name, "登记") && !strings.Contains(marked, "登记") {
					t.Errorf("in %s only %q is marked", h.Name, marked)
				}
			}
		}
	})
	if len(seen) != total || total < 21 {
		t.Errorf("%d on the pages, total %d", len(seen), total)
	}
}

func TestSearchIsNeverAnErrorWhateverIsTyped(t *testing.T) {
	w := newWorld(t)
	w.take(demoRows(t, "", false))
	w.fold(tenant)
	try := func(typed string) error {
		return w.Division.View(t.Context(), replication.Local, func(v *service.View) error {
			_, err := catalog.Search(v, typed, catalog.Filter{}, 1)
			return err
		})
	}
	for _, typed := range []string{strings.Repeat("社", 10_000), strings.Repeat(`"`, 10_000), strings.Repeat("a b ", 5000),
		"AND", "OR", "NOT", "a AND", "NEAR/2", "(((", "\u202e社保", "\x00", "\xff\xfe", "𠮷𰻝", "ǅ ß İ", "社保\"* OR name:\"x", "^社", "{a b}: c", "ﷺ", "\ufffd"} {
		if err := try(typed); err != nil {
			t.Errorf("%.40q: %v", typed, err)
		}
	}
	words := []string{`"`, "*", "NEAR(", "-", ":", "OR", "社保", "户", "sb", "😀", "'", "\x00", ")", " ", "ⅷ", "é"}
	rapid.Check(t, func(r *rapid.T) {
		typed := rapid.OneOf(rapid.String(), rapid.Custom(func(r *rapid.T) string {
			return strings.Join(rapid.SliceOf(rapid.SampledFrom(words)).Draw(r, "words"), "")
		})).Draw(r, "typed")
		if err := try(typed); err != nil {
			r.Fatalf("%q: %v", typed, err)
		}
	})
}
