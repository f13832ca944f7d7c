// Package demo is a demonstration catalog: some four hundred service items of the twelve
// departments of a made-up county, each with a whole guide (legal basis, limits,
// materials, steps, result, everyday words).
//
// It has two uses. A demonstration imports it through the ordinary import path
// ([CSV]); and an item of a real county that came without a guide inherits guide fields
// from the item of the same name here ([Items]), marked as inherited.
//
// # Guarantees
//
//   - Every item carries [Notice]: nobody can take it for the data of a government.
//   - Body codes lie in division 999999, which does not exist, and basic codes begin
//     with DEMO; both are otherwise formed as the standards ask.
//   - Names are those in common use. Limits, fees and materials follow what counties
//     usually publish and are examples: no legal advice, no county's promise.
//
// # Not here
//
// The check of a credit code, import and quarantine are in package catalog.
// README.md in this folder explains the data files, which a person can edit.
package demo

import "embed"

// Notice marks everything in this package for readers in both languages.
const Notice = "演示数据 / demonstration data"

// AreaCode is the 12-digit division code of the rows that [CSV] and [DirtyRows] give.
const AreaCode = "511602000000"

// NoMaterials is what a guide prints when an item asks for no material.
const NoMaterials = "无需材料"

// levelCounty is the level digit of an item code (DOMAIN.md §2.8: 18 + 1 + 12).
const levelCounty = "4"

//go:embed data
var files embed.FS

// A Department is one department of the demonstration county.
type Department struct {
	Name     string // Chinese, with 演示县 in front.
	NameEN   string
	Slug     string // [a-z0-9-]{1,40}, as a tenant's.
	BodyCode string // Unified social credit code, 18 characters, valid check character (GB 32100-2015).
}

// TaskType is the kind of a power or service, with the code of the national item model.
type TaskType int

// The task types that occur in a county.
const (
	Permit        TaskType = 1  // 行政许可
	Payment       TaskType = 5  // 行政给付
	Confirmation  TaskType = 7  // 行政确认
	Reward        TaskType = 8  // 行政奖励
	Ruling        TaskType = 9  // 行政裁决
	OtherPower    TaskType = 10 // 其他行政权力
	PublicService TaskType = 20 // 公共服务
)

// String is the Chinese name of t, or "" for a code that is none of the constants.
func (t TaskType) String() string {
	switch t {
	case Permit:
		return "行政许可"
	case Payment:
		return "行政给付"
	case Confirmation:
		return "行政确认"
	case Reward:
		return "行政奖励"
	case Ruling:
		return "行政裁决"
	case OtherPower:
		return "其他行政权力"
	case PublicService:
		return "公共服务"
	}
	return ""
}

// ProjectType says whether an item is settled while the applicant waits.
type ProjectType string

// The two project types of the national item model.
const (
	Instant  ProjectType = "instant"  // 即办件: settled at once, PromiseDays is 1.
	Promised ProjectType = "promised" // 承诺件: settled within PromiseDays.
)

// MaterialKind is the form in which a material is handed in.
type MaterialKind string

// The kinds of materials.
const (
	Original MaterialKind = "original" // Shown or handed in as it is.
	Copy     MaterialKind = "copy"
	Form     MaterialKind = "form" // Filled in for this application.
)

// Source says who brings a material.
type Source string

// The sources of materials.
const (
	Applicant  Source = "applicant"
	SharedData Source = "shared data" // The department fetches it; nobody may ask the applicant for it.
)

// A Material is one thing an application must or may contain.
type Material struct {
	Name     string
	Kind     MaterialKind
	Required bool
	Source   Source
	Basis    string // The rule that asks for it; where none is more exact, the item's first legal basis.
}

// An Item is one service item with its guide.
type Item struct {
	Notice     string // Always [Notice].
	Department Department

	MainItem  string // The group of variants it belongs to; its own name when it stands alone.
	Name      string // Unique in the catalog.
	NameEN    string // "" where there is none.
	BasicCode string // 12 characters, begins with DEMO.
	ItemCode  string // 31 characters: body code, level, basic code.

	TaskType       TaskType
	ProjectType    ProjectType
	ServiceObjects []string // 自然人, 企业法人 …; at least one.
	LegalBasis     []string // At least one; statute, with the article where it is certain.
	StatutoryDays  int      // Working days; where no statute sets a limit, what counties usually print.
	PromiseDays    int      // Working days, 1 ≤ PromiseDays ≤ StatutoryDays.
	Visits         int      // How often the applicant must come: 0 or 1.
	Fee            string   // "0", or the amount and the document that sets it.
	Conditions     string
	Materials      []Material // Empty: [NoMaterials].
	Steps          []string
	Result         string   // The licence, certificate or document that ends the case.
	Channels       []string // Of "online", "window", "phone"; at least one.
	Keywords       []string // Everyday words people search with.
}

// Departments returns the twelve departments in the order of their files.
func Departments() []Department {
	c := mustRead()
	out := make([]Department, 0, len(c.departments))
	for _, d := range c.departments {
		out = append(out, d.Department)
	}
	return out
}

// Items returns all items, department by department. The caller owns the result. It
// parses the embedded files at every call (a few milliseconds): keep the result.
func Items() []Item {
	return mustRead().items
}

// mustRead panics on malformed files: they are part of the program, and the tests read
// every line of them.
func mustRead() catalog {
	c, err := read(files)
	if err != nil {
		panic("demo: " + err.Error())
	}
	return c
}
