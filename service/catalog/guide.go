package catalog

import (
	"slices"
	"strings"
)

// Source says where a guide's field comes from.
type Source string

// Sources of a field.
const (
	Own       Source = "own"       // Filled by the department.
	Inherited Source = "inherited" // From the demonstration catalog, by the item's name: demonstration data.
	Missing   Source = "missing"
)

// Material is one thing to bring.
type Material struct {
	Name     string `json:"name"`
	Kind     string `json:"kind,omitempty"` // original, copy, form; empty: not said.
	Required bool   `json:"required"`
	Shared   bool   `json:"shared,omitempty"` // The department fetches it; nobody may ask the applicant for it.
	Basis    string `json:"basis,omitempty"`
}

// Guide is what a person must know about an item. A zero field is not filled.
type Guide struct {
	Audience   []string    `json:"audience,omitempty"`   // person, firm
	Basis      []string    `json:"basis,omitempty"`      // Statutes, with articles.
	Conditions string      `json:"conditions,omitempty"` // Who can apply.
	Materials  *[]Material `json:"materials,omitempty"`  // Empty but not nil: none are needed.
	Statutory  int         `json:"statutory,omitempty"`  // Working days; 0: not filled.
	Promise    int         `json:"promise,omitempty"`    // Working days, never above Statutory; 0: not filled.
	Instant    bool        `json:"instant,omitempty"`    // 即办件: Promise is settled on the spot.
	Visits     *int        `json:"visits,omitempty"`
	Channels   []string    `json:"channels,omitempty"` // online, window, phone
	Fee        string      `json:"fee,omitempty"`      // "0": none.
	Steps      []string    `json:"steps,omitempty"`
	Result     string      `json:"result,omitempty"`
	Place      string      `json:"place,omitempty"` // Where, and opening hours.
	Phone      string      `json:"phone,omitempty"`
}

// guideField is one field that counts for completeness.
type guideField struct {
	name   string
	filled func(g *Guide) bool
	copy   func(to, from *Guide)
	same   func(a, b *Guide) bool
}

// guideFields are the eleven fields that a complete guide has. Audience and steps are
// shown when known and do not count.
var guideFields = []guideField{
	{"basis", func(g *Guide) bool { return len(g.Basis) > 0 }, func(to, from *Guide) { to.Basis = from.Basis },
		func(a, b *Guide) bool { return slices.Equal(a.Basis, b.Basis) }},
	{"conditions", func(g *Guide) bool { return g.Conditions != "" }, func(to, from *Guide) { to.Conditions = from.Conditions },
		func(a, b *Guide) bool { return a.Conditions == b.Conditions }},
	{"materials", func(g *Guide) bool { return g.Materials != nil }, func(to, from *Guide) { to.Materials = from.Materials },
		func(a, b *Guide) bool { return slices.Equal(*a.Materials, *b.Materials) }},
	{"statutory", func(g *Guide) bool { return g.Statutory > 0 }, func(to, from *Guide) { to.Statutory = from.Statutory },
		func(a, b *Guide) bool { return a.Statutory == b.Statutory }},
	{"promise", func(g *Guide) bool { return g.Promise > 0 },
		func(to, from *Guide) { to.Promise, to.Instant = from.Promise, from.Instant },
		func(a, b *Guide) bool { return a.Promise == b.Promise && a.Instant == b.Instant }},
	{"visits", func(g *Guide) bool { return g.Visits != nil }, func(to, from *Guide) { to.Visits = from.Visits },
		func(a, b *Guide) bool { return *a.Visits == *b.Visits }},
	{"channels", func(g *Guide) bool { return len(g.Channels) > 0 }, func(to, from *Guide) { to.Channels = from.Channels },
		func(a, b *Guide) bool { return slices.Equal(a.Channels, b.Channels) }},
	{"fee", func(g *Guide) bool { return g.Fee != "" }, func(to, from *Guide) { to.Fee = from.Fee },
		func(a, b *Guide) bool { return a.Fee == b.Fee }},
	{"result", func(g *Guide) bool { return g.Result != "" }, func(to, from *Guide) { to.Result = from.Result },
		func(a, b *Guide) bool { return a.Result == b.Result }},
	{"place", func(g *Guide) bool { return g.Place != "" }, func(to, from *Guide) { to.Place = from.Place },
		func(a, b *Guide) bool { return a.Place == b.Place }},
	{"phone", func(g *Guide) bool { return g.Phone != "" }, func(to, from *Guide) { to.Phone = from.Phone },
		func(a, b *Guide) bool { return a.Phone == b.Phone }},
}

// furtherFields are shown when known and do not count.
var furtherFields = []guideField{
	{"audience", func(g *Guide) bool { return len(g.Audience) > 0 }, func(to, from *Guide) { to.Audience = from.Audience },
		func(a, b *Guide) bool { return slices.Equal(a.Audience, b.Audience) }},
	{"steps", func(g *Guide) bool { return len(g.Steps) > 0 }, func(to, from *Guide) { to.Steps = from.Steps },
		func(a, b *Guide) bool { return slices.Equal(a.Steps, b.Steps) }},
}

// GuideFields are the names of the fields that count for completeness, in the order of
// the guide's page. Their messages are "catalog.field.<name>".
func GuideFields() []string {
	var out []string
	for _, f := range guideFields {
		out = append(out, f.name)
	}
	return out
}

// Completeness counts the fields of a guide, or of all guides of a department.
type Completeness struct {
	Own       int `json:"own"`       // Filled by the department.
	Inherited int `json:"inherited"` // Demonstration data stands in.
	Missing   int `json:"missing"`
}

// Total is the number of fields.
func (c Completeness) Total() int { return c.Own + c.Inherited + c.Missing }

// Percent is the share of fields that the department has filled itself, in hundredths,
// rounded down.
func (c Completeness) Percent() int { return percent(c.Own, c.Total()) }

// PercentInherited is the share of fields where demonstration data stands in.
func (c Completeness) PercentInherited() int { return percent(c.Inherited, c.Total()) }

func percent(n, of int) int {
	if of == 0 {
		return 0
	}
	return n * 100 / of
}

// Effective is a guide as shown: the department's fields, over what is inherited.
type Effective struct {
	Guide
	From         map[string]Source `json:"from"` // Of each field by name.
	Completeness Completeness      `json:"completeness"`
}

// merge lays the department's own guide over the inherited one. A promise of one side
// never exceeds the statutory limit of the other: the inherited one then gives way.
func merge(own, inherited Guide) Effective {
	if own.Promise > 0 && own.Statutory == 0 && inherited.Statutory < own.Promise {
		inherited.Statutory = 0
	}
	if own.Statutory > 0 && own.Promise == 0 && inherited.Promise > own.Statutory {
		inherited.Promise, inherited.Instant = 0, false
	}
	e := Effective{From: map[string]Source{}}
	for i, f := range append(slices.Clone(guideFields), furtherFields...) {
		from := Missing
		switch {
		case f.filled(&own):
			from = Own
			f.copy(&e.Guide, &own)
		case f.filled(&inherited):
			from = Inherited
			f.copy(&e.Guide, &inherited)
		}
		e.From[f.name] = from
		if i < len(guideFields) {
			e.Completeness.count(from)
		}
	}
	return e
}

func (c *Completeness) count(from Source) {
	switch from {
	case Own:
		c.Own++
	case Inherited:
		c.Inherited++
	default:
		c.Missing++
	}
}

// common returns what all the guides say alike: what a group of variants shares.
func common(guides []Guide) Guide {
	if len(guides) == 0 {
		return Guide{}
	}
	var out Guide
	for _, f := range append(slices.Clone(guideFields), furtherFields...) {
		shared := true
		for i := range guides {
			shared = shared && f.filled(&guides[i]) && f.same(&guides[0], &guides[i])
		}
		if shared {
			f.copy(&out, &guides[0])
		}
	}
	return out
}

// parseMaterials reads one material a line: "name | kind | optional | shared", of which
// only the name must be there. "无" alone says that none are needed.
func parseMaterials(text string) *[]Material {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil
	}
	out := []Material{}
	for line := range strings.Lines(text) {
		fields := strings.Split(line, "|")
		m := Material{Name: clean(fields[0]), Required: true}
		if m.Name == "" || m.Name == "无" {
			continue
		}
		for _, f := range fields[1:] {
			switch f = strings.ToLower(clean(f)); f {
			case "原件", "original":
				m.Kind = "original"
			case "复印件", "copy":
				m.Kind = "copy"
			case "表格", "form":
				m.Kind = "form"
			case "非必要", "选填", "optional":
				m.Required = false
			case "共享", "数据共享", "shared":
				m.Shared = true
			default:
				m.Basis = f
			}
		}
		out = append(out, m)
	}
	return &out
}

// formatMaterials writes materials as parseMaterials reads them.
func formatMaterials(list *[]Material) string {
	if list == nil {
		return ""
	}
	if len(*list) == 0 {
		return "无"
	}
	kinds := map[string]string{"original": "原件", "copy": "复印件", "form": "表格"}
	var b strings.Builder
	for _, m := range *list {
		b.WriteString(m.Name)
		if k := kinds[m.Kind]; k != "" {
			b.WriteString(" | " + k)
		}
		if !m.Required {
			b.WriteString(" | 非必要")
		}
		if m.Shared {
			b.WriteString(" | 共享")
		}
		if m.Basis != "" {
			b.WriteString(" | " + m.Basis)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// VisitCount returns the number of visits, 0 when it is not filled.
func (g Guide) VisitCount() int {
	if g.Visits == nil {
		return 0
	}
	return *g.Visits
}
