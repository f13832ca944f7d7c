package catalog

import (
	"slices"
	"sync"

	"tongban/service/catalog/demo"
)

// Match says how an item found its inherited guide.
type Match string

// Matches.
const (
	ByName     Match = "name"      // An item of the basic catalog has exactly this name.
	ByMainItem Match = "main_item" // The main item is there; only what its variants share is inherited.
	NoMatch    Match = ""
)

// basis is what an item inherits by its name.
type basis struct {
	guide    Guide
	match    Match
	source   string   // Name of the demonstration item or main item.
	keywords []string // Everyday words.
	english  string   // Name in English.
}

// basicCatalog is the demonstration catalog, by normalised name.
type basicCatalog struct {
	names map[string]basis
	mains map[string]basis
}

// basic parses the embedded demonstration catalog once; it never changes.
var basic = sync.OnceValue(func() basicCatalog {
	c := basicCatalog{names: map[string]basis{}, mains: map[string]basis{}}
	groups := map[string][]demo.Item{}
	for _, item := range demo.Items() {
		b := basis{guide: guideOf(item), match: ByName, source: item.Name, keywords: item.Keywords, english: item.NameEN}
		c.names[nameKey(item.Name)] = b
		groups[item.MainItem] = append(groups[item.MainItem], item)
	}
	for main, items := range groups {
		var guides []Guide
		var keywords [][]string
		for _, item := range items {
			guides = append(guides, guideOf(item))
			keywords = append(keywords, item.Keywords)
		}
		c.mains[nameKey(main)] = basis{guide: common(guides), match: ByMainItem, source: main, keywords: shared(keywords)}
	}
	return c
})

// unclassified is what exports write for "no main item".
const unclassified = "未分类"

// inherit returns what an item takes from the basic catalog: of the item that has its
// name; else of the item whose name is its main item; else what all variants of its main
// item share. Names are compared without width, brackets' kind, case and spaces; nothing
// is guessed beyond that.
func inherit(name, mainItem string) basis {
	c := basic()
	if b, ok := c.names[nameKey(name)]; ok {
		return b
	}
	key := nameKey(mainItem)
	if mainItem == unclassified || key == "" {
		key = nameKey(name) // A main item that has no sub-items is its own.
	}
	if b, ok := c.names[key]; ok {
		b.match = ByMainItem
		return b
	}
	return c.mains[key]
}

// shared returns the words that are in every list.
func shared(lists [][]string) []string {
	var out []string
	for _, w := range lists[0] {
		all := true
		for _, l := range lists[1:] {
			all = all && slices.Contains(l, w)
		}
		if all {
			out = append(out, w)
		}
	}
	return out
}

func guideOf(item demo.Item) Guide {
	visits := item.Visits
	materials := make([]Material, 0, len(item.Materials))
	for _, m := range item.Materials {
		materials = append(materials, Material{Name: m.Name, Kind: string(m.Kind), Required: m.Required,
			Shared: m.Source == demo.SharedData, Basis: m.Basis})
	}
	g := Guide{
		Basis: item.LegalBasis, Conditions: item.Conditions, Materials: &materials,
		Statutory: item.StatutoryDays, Promise: item.PromiseDays, Instant: item.ProjectType == demo.Instant,
		Visits: &visits, Channels: item.Channels, Fee: item.Fee, Steps: item.Steps, Result: item.Result,
	}
	for _, o := range item.ServiceObjects {
		word := "firm"
		if o == "自然人" {
			word = "person"
		}
		if !slices.Contains(g.Audience, word) {
			g.Audience = append(g.Audience, word)
		}
	}
	return g
}
