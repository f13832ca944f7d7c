package catalog_test

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tongban/service"
	"tongban/service/catalog"
	"tongban/service/catalog/demo"
)

var slugPattern = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

func refusalFields(err error) map[string]string {
	var e *service.Error
	if errors.As(err, &e) {
		return e.Fields
	}
	return nil
}

const head = "department,main_item,item_name,item_code_local,base_code_local,area_code12,seg3,org_code,org_code_kind,seg1,seg2,task_type,task_type_name_inferred\n"

func csvLine(name, code, body string) string {
	return fmt.Sprintf("区民政局,未分类,%s,%s,511A00000001,511602000000,000,%s,uscc,1,00,1,行政许可\n", name, code, body)
}

func TestNoRowOfAFileIsDroppedAndASlipInOneCostsNoOther(t *testing.T) {
	good := func(i int) string {
		return csvLine(fmt.Sprint("事项", i), fmt.Sprintf("511A%08d-511602000000-000-%s-1-00", i, goodBody), goodBody)
	}
	for _, c := range []struct {
		name, slip string
		kind       catalog.Kind
	}{
		{"a field too few", "区民政局,只有两列\n", catalog.Columns},
		{"a field too many", strings.TrimSuffix(good(9), "\n") + ",多\n", catalog.Columns},
		{"a quote that is never closed", `"区民政局,未分类,没有关的引号,x` + "\n", catalog.Quotes},
		{"a quote inside a field", `区民政局,未分类,引"号,511A-1,,,,,,,,1,` + "\n", catalog.Quotes},
		{"a line that is too long", strings.Repeat("长", catalog.MaxRow) + "\n", catalog.Oversized},
		{"bytes that are not UTF-8", "\xc7\xf8\xc3\xf1\xd5\xfe\xbe\xd6,a,b\n", catalog.NotUTF8},
		{"control characters", csvLine("坏\x07名\u202e称", "511A00000009-511602000000-000-"+goodBody+"-1-00", goodBody), catalog.Control},
		{"no name", csvLine("", "511A00000009-511602000000-000-"+goodBody+"-1-00", goodBody), catalog.NameEmpty},
		{"no code", csvLine("无编码", "", goodBody), catalog.CodeEmpty},
		{"a code of another row", csvLine("重复", "511A00000001-511602000000-000-"+goodBody+"-1-00", goodBody), catalog.Duplicate},
		{"a name that is too long", csvLine(strings.Repeat("名", catalog.MaxName+1), "511A00000009-511602000000-000-"+goodBody+"-1-00", goodBody), catalog.NameLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, end := range []string{"\n", "\r\n"} {
				text := "\ufeff" + head + good(1) + good(2) + c.slip + good(3) + "\n" + good(4)
				rows, err := catalog.ParseCSV(strings.NewReader(strings.ReplaceAll(text, "\n", end)))
				if err != nil || len(rows) != 5 {
					t.Fatalf("%d rows, %v; want 5", len(rows), err)
				}
				blocked := 0
				for _, j := range catalog.Judge(rows, "511602") {
					if !j.Blocked {
						continue
					}
					blocked++
					if j.Row.Line != 4 || !slices.ContainsFunc(j.Reasons, func(r catalog.Reason) bool { return r.Kind == c.kind }) {
						t.Errorf("line %d: %v", j.Row.Line, j.Reasons)
					}
				}
				if blocked != 1 {
					t.Errorf("%d rows are kept back, want 1", blocked)
				}
				if d := catalog.Split(rows, nil); len(d) != 1 {
					t.Errorf("%d departments", len(d))
				}
			}
		})
	}
	rows, err := catalog.ParseCSV(strings.NewReader(head + "区民政局,未分类,\"两行的\n名称\",c-1,,,,x,,,,1,\n" + good(1)))
	if err != nil || len(rows) != 2 || rows[0].Name != "两行的名称" || rows[1].Line != 4 {
		t.Errorf("a quoted line end gives %+v, %v", rows, err)
	}
}

func TestAFileIsRefusedOnlyForItsHeaderOrEncoding(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       error
	}{
		{"no header", "区民政局,a,b\n", catalog.ErrNoHeader},
		{"nothing", "", catalog.ErrNoHeader},
		{"a mandatory column is missing", "department,item_name,item_code_local\na,b,c\n", catalog.ErrNoHeader},
		{"GBK", head + "\xc7\xf8\xc3\xf1\xd5\xfe\xbe\xd6,a,b\n\xc7\xf8\xc3\xf1\xd5\xfe\xbe\xd6,a,b\n", catalog.ErrEncoding},
		{"UTF-16", "\xff\xfed\x00e\x00", catalog.ErrEncoding},
	} {
		if _, err := catalog.ParseCSV(strings.NewReader(c.text)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if rows, err := catalog.ParseCSV(strings.NewReader("统一社会信用代码,部门,事项名称,事项编码,备注\nX,区民政局,甲,乙,丙\n")); err != nil || len(rows) != 1 || rows[0].Name != "甲" {
		t.Errorf("Chinese column names in another order: %+v, %v", rows, err)
	}
}

func TestSlugsArePinyinAndNeverCollide(t *testing.T) {
	var rows []catalog.Row
	for _, name := range []string{"区民政局", "区民政 局", "（区民政局）", "区人社局", "!!!", "###", strings.Repeat("长", 60), strings.Repeat("常", 60), "Tax Office 2"} {
		rows = append(rows, catalog.Row{Department: name, Name: "x"})
	}
	seen := map[string]bool{"qurensheju": true}
	departments := catalog.Split(rows, map[string]string{"区别的局": "qurensheju", "!!!": "kept"})
	for _, d := range departments {
		if seen[d.Slug] || !slugPattern.MatchString(d.Slug) {
			t.Errorf("%s gets the slug %q", d.Name, d.Slug)
		}
		seen[d.Slug] = true
	}
	if departments[0].Slug != "quminzhengju" || departments[4].Slug != "kept" {
		t.Errorf("slugs %q, %q", departments[0].Slug, departments[4].Slug)
	}
}

func TestTheOrgSegmentOfAnItemCodeIsRewritten(t *testing.T) {
	for _, c := range []struct{ code, want string }{
		{"511A0081000003-511602000000-000-00877868-5-1-00", "511A0081000003-511602000000-000-" + goodBody + "-1-00"},
		{"G-000007-001-511602000000-000-115113010833722043-1-00", "G-000007-001-511602000000-000-" + goodBody + "-1-00"},
		{"E-000021-001-1111111111111111", "E-000021-001-" + goodBody},
		{otherBody + "4DEMO01200001", goodBody + "4DEMO01200001"},
		{"没有格式", ""}, {"", ""},
	} {
		if got, ok := catalog.Rewrite(c.code, goodBody); got != c.want || ok != (c.want != "") {
			t.Errorf("%s becomes %q, want %q", c.code, got, c.want)
		}
	}
}

func FuzzParseCSV(f *testing.F) {
	f.Add(demo.CSV(true)[:4000])
	f.Add([]byte(head + "\"a\nb,,\"\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := catalog.ParseCSV(bytes.NewReader(data))
		if err != nil {
			return
		}
		n := 0
		for _, d := range catalog.Split(rows, nil) {
			n += len(d.Rows)
			if !slugPattern.MatchString(d.Slug) {
				t.Errorf("slug %q", d.Slug)
			}
		}
		if n != len(rows) || len(catalog.Judge(rows, "511602")) != len(rows) {
			t.Errorf("%d of %d rows arrive", n, len(rows))
		}
	})
}
