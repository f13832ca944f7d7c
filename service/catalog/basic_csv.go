package catalog

import (
	"io"
	"strconv"
	"strings"

	"tongban/service"
)

// MaxBasicRows bounds a file of the basic catalog: about five times what a province with
// all business-handling items has.
const MaxBasicRows = 20_000

// A BasicRow is one line of a file of the basic catalog.
type BasicRow struct {
	Line       int      `json:"line"`
	Code       string   `json:"code"`
	Name       string   `json:"name"`
	Type       string   `json:"type,omitempty"` // Code of the task type.
	MainItem   string   `json:"main_item,omitempty"`
	Words      string   `json:"words,omitempty"` // Everyday words, divided by spaces.
	English    string   `json:"english,omitempty"`
	Basis      string   `json:"basis,omitempty"` // Statutes, divided by "；".
	Conditions string   `json:"conditions,omitempty"`
	Statutory  string   `json:"statutory,omitempty"` // Working days.
	Raw        string   `json:"raw,omitempty"`       // The beginning of a line that could not be read.
	Reasons    []Reason `json:"reasons,omitempty"`
}

// basicFields are the columns of a file of the basic catalog. The first two are mandatory.
var basicFields = []column[BasicRow]{
	{[]string{"base_code", "base_code_local", "catalog_code", "基本编码"}, func(r *BasicRow) *string { return &r.Code }},
	{[]string{"item_name", "name", "事项名称"}, func(r *BasicRow) *string { return &r.Name }},
	{[]string{"task_type", "事项类型"}, func(r *BasicRow) *string { return &r.Type }},
	{[]string{"main_item", "主项", "主项名称"}, func(r *BasicRow) *string { return &r.MainItem }},
	{[]string{"keywords", "关键词"}, func(r *BasicRow) *string { return &r.Words }},
	{[]string{"name_en", "英文名称"}, func(r *BasicRow) *string { return &r.English }},
	{[]string{"by_law", "设定依据"}, func(r *BasicRow) *string { return &r.Basis }},
	{[]string{"accept_condition", "受理条件"}, func(r *BasicRow) *string { return &r.Conditions }},
	{[]string{"anticipate_day", "法定时限"}, func(r *BasicRow) *string { return &r.Statutory }},
}

const mandatoryBasic = 2

// maxBasis bounds statutes and conditions, characters: the longest of the demonstration
// have 200.
const maxBasis = 2000

// ParseBasicCSV reads a file of the basic catalog, in the form that ParseCSV reads: every
// line that is not blank becomes a row, with what is wrong with it in its reasons. It
// returns ErrNoHeader, ErrEncoding, ErrTooManyRows, or the reader's error.
func ParseBasicCSV(r io.Reader) ([]BasicRow, error) {
	var rows []BasicRow
	foreign, plain := 0, 0
	err := readCSV(r, basicFields, mandatoryBasic, MaxBasicRows, func(rec record, fill func(row *BasicRow)) {
		row := BasicRow{Line: rec.line, Raw: rec.raw, Reasons: rec.reasons}
		fill(&row)
		if hasKind(rec.reasons, NotUTF8) {
			foreign++
		} else if strings.ContainsFunc(row.Name, func(c rune) bool { return c > 0x7f }) {
			plain++
		}
		rows = append(rows, row)
	})
	if err != nil {
		return nil, err
	}
	if foreign > 0 && plain == 0 {
		return nil, ErrEncoding
	}
	return rows, nil
}

// trim makes a row that came as JSON what reading a file would have made of it.
func (r *BasicRow) trim() {
	for _, c := range basicFields {
		field := c.field(r)
		*field = clean(*field)
	}
	r.Raw = shorten(clean(r.Raw), rawPreview)
}

// judge completes what is wrong with the row. Nil: it can be taken.
func (r *BasicRow) judge() []Reason {
	out := r.Reasons
	if hasKind(out, Oversized) || hasKind(out, NotUTF8) || hasKind(out, Quotes) {
		return out
	}
	switch {
	case r.Code == "":
		out = append(out, because(CodeEmpty))
	case len(r.Code) > MaxCode:
		out = append(out, because(CodeLong, "n", len(r.Code)))
	case !codePattern.MatchString(r.Code):
		out = append(out, because(CodeForm))
	}
	if n := len([]rune(r.Name)); n == 0 {
		out = append(out, because(NameEmpty))
	} else if n > MaxName {
		out = append(out, because(NameLong, "n", n))
	}
	if _, known := taskTypes[r.Type]; r.Type != "" && !known {
		out = append(out, because(TypeUnknown, "type", shorten(r.Type, maxQuery)))
	}
	for _, text := range []string{r.MainItem, r.English, r.Words} {
		if n := len([]rune(text)); n > MaxName {
			out = append(out, because(TextLong, "n", n))
		}
	}
	for _, text := range []string{r.Basis, r.Conditions} {
		if n := len([]rune(text)); n > maxBasis {
			out = append(out, because(TextLong, "n", n))
		}
	}
	if r.Statutory != "" {
		if n, err := strconv.Atoi(r.Statutory); err != nil || n < 0 || n > maxDays {
			out = append(out, because(NoNumber, "text", shorten(r.Statutory, maxQuery)))
		}
	}
	return out
}

// entry is what the row says, ready for the feed.
func (r *BasicRow) entry() basicEntry {
	e := basicEntry{Name: r.Name, Type: taskTypes[r.Type], MainItem: r.MainItem, English: r.English, Words: strings.Fields(r.Words)}
	e.Guide.Conditions = r.Conditions
	e.Guide.Statutory, _ = strconv.Atoi(r.Statutory) // Judged.
	for s := range strings.SplitSeq(r.Basis, "；") {
		if s = strings.TrimSpace(s); s != "" {
			e.Guide.Basis = append(e.Guide.Basis, s)
		}
	}
	return e
}

// BadBasic is a row that was not taken, with every reason.
type BadBasic struct {
	Line    int      `json:"line"`
	Code    string   `json:"code,omitempty"`
	Name    string   `json:"name,omitempty"`
	Raw     string   `json:"raw,omitempty"`
	Reasons []Reason `json:"reasons"`
}

// sift divides rows into those that can be taken, each code once, and those that cannot.
func sift(rows []BasicRow) (good []BasicRow, bad []BadBasic) {
	lines := map[string]int{}
	for _, r := range rows {
		reasons := r.judge()
		if first, taken := lines[r.Code]; taken && r.Code != "" {
			reasons = append(reasons, because(Duplicate, "line", first))
		}
		if len(reasons) > 0 {
			bad = append(bad, BadBasic{r.Line, shorten(r.Code, MaxCode), shorten(r.Name, MaxName), r.Raw, reasons})
			continue
		}
		lines[r.Code] = r.Line
		good = append(good, r)
	}
	return good, bad
}

// Refusals of an import of the basic catalog.
var (
	ErrFromParent  = service.Refuse(service.Conflict, "catalog.basic_from_parent")       // Params: parent.
	ErrNotWhole    = service.Refuse(service.Unprocessable, "catalog.basic_not_whole")    // Params: rows.
	ErrNothingGood = service.Refuse(service.Unprocessable, "catalog.basic_nothing_good") // Params: rows.
)
