package demo

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// unclassified is what exports write into main_item when they know none.
const unclassified = "未分类"

// Columns are the column names of the import format, in order: what county portals
// export of their guide list.
func Columns() []string {
	return []string{
		"department", "main_item", "item_name", "item_code_local", "base_code_local",
		"area_code12", "seg3", "org_code", "org_code_kind", "seg1", "seg2",
		"task_type", "task_type_name_inferred",
	}
}

// A Row is one line of the import format. Fields are in the order of [Columns].
type Row struct {
	Department    string
	MainItem      string
	ItemName      string
	ItemCodeLocal string // base-area12-seg3-org-seg1-seg2, or without the middle where the export could not be taken apart.
	BaseCodeLocal string
	AreaCode12    string
	Seg3          string
	OrgCode       string
	OrgCodeKind   string // uscc, or what the code looks like instead: org_code_17, pseudo18, unparsed …
	Seg1          string
	Seg2          string
	TaskType      string
	TaskTypeName  string
}

// Record returns the fields of r in the order of [Columns].
func (r Row) Record() []string {
	return []string{
		r.Department, r.MainItem, r.ItemName, r.ItemCodeLocal, r.BaseCodeLocal,
		r.AreaCode12, r.Seg3, r.OrgCode, r.OrgCodeKind, r.Seg1, r.Seg2,
		r.TaskType, r.TaskTypeName,
	}
}

// Rows returns every item as a row of the import format: all of them are valid.
func Rows() []Row {
	items := Items()
	rows := make([]Row, 0, len(items))
	for _, item := range items {
		rows = append(rows, newRow(item.Department.Name, item.MainItem, item.Name,
			item.BasicCode, item.Department.BodyCode, "uscc", item.TaskType))
	}
	return rows
}

// DirtyRows returns rows whose body code is wrong in one of the seven ways found in
// exports of real counties: 17, 9, 10, 13 and 7 characters, a pseudo-code of 18 characters
// with a wrong check character, and item codes that cannot be taken apart (one of these
// for a lower-case letter only). Their names are not among [Items].
func DirtyRows() []Row {
	c := mustRead()
	rows, err := readDirty(files, c.departments)
	if err != nil {
		panic("demo: " + err.Error())
	}
	return rows
}

// CSV renders the catalog in the import format, UTF-8 with a header line; with dirty the
// rows of [DirtyRows] follow.
func CSV(dirty bool) []byte {
	rows := Rows()
	if dirty {
		rows = append(rows, DirtyRows()...)
	}
	records := [][]string{Columns()}
	for _, r := range rows {
		records = append(records, r.Record())
	}
	var b bytes.Buffer
	if err := csv.NewWriter(&b).WriteAll(records); err != nil {
		panic("demo: " + err.Error()) // A bytes.Buffer does not fail.
	}
	return b.Bytes()
}

// newRow fills the columns that follow from the others. An unparsed row has its code as
// it came and nothing taken from it.
func newRow(department, mainItem, name, base, org, kind string, t TaskType) Row {
	r := Row{
		Department: department, MainItem: mainItem, ItemName: name, OrgCodeKind: kind,
		TaskType: strconv.Itoa(int(t)), TaskTypeName: t.String(),
	}
	if kind == "unparsed" {
		r.ItemCodeLocal = org
		return r
	}
	r.BaseCodeLocal, r.OrgCode = base, org
	r.AreaCode12, r.Seg3, r.Seg1, r.Seg2 = AreaCode, "000", "1", "00"
	r.ItemCodeLocal = strings.Join([]string{base, AreaCode, r.Seg3, org, r.Seg1, r.Seg2}, "-")
	return r
}

// readDirty reads dirty.txt: "department|kind|number|task type|name|code", where the code
// of an unparsed row is its whole item code.
func readDirty(fsys fs.FS, departments []department) ([]Row, error) {
	bySlug := map[string]department{}
	for _, d := range departments {
		bySlug[d.Slug] = d
	}
	var rows []Row
	err := eachLine(fsys, "data/dirty.txt", func(line string) error {
		f := strings.Split(line, "|")
		if len(f) != 6 {
			return fmt.Errorf("%d fields instead of 6: %q", len(f), line)
		}
		d, ok := bySlug[f[0]]
		if !ok {
			return fmt.Errorf("unknown department %q", f[0])
		}
		kind, err := strconv.Atoi(f[3])
		t := TaskType(kind)
		if err != nil || t.String() == "" {
			return fmt.Errorf("unknown task type %q", f[3])
		}
		rows = append(rows, newRow(d.Name, unclassified, f[4], basicCode(d.number, t, f[2]), f[5], f[1], t))
		return nil
	})
	return rows, err
}
