package statistics

import (
	"embed"
	"fmt"
	"io/fs"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/service"
)

//go:embed migrations templates messages
var files embed.FS

// Measures of cases.
const (
	Applications service.Measure = "applications" // Cases made, by the day of their submission.
	Decisions    service.Measure = "decisions"    // Cases granted, denied or closed for the first time, by that day.
)

// Options are what the service needs of the program.
type Options struct {
	Site service.Site // The division that this is. Zero: the Definition only names its tables.

	// BasicCode returns the code of the basic catalog that an item code contains, if it does.
	BasicCode func(code string) (basic string, ok bool)
	// Names returns the names of items by their codes, as this division's catalog has them:
	// item codes and codes of the basic catalog. Unknown codes are left out.
	Names func(q service.Querier, codes []string) (map[string]string, error)

	tree // Zero: the federation's.
}

// tree is what the federation knows of the divisions.
type tree struct {
	places    func(q service.Querier) ([]federation.Place, error)
	below     func(q service.Querier, child, ref division.Ref) (bool, error)
	freshness func(q service.Querier, self division.Ref, now time.Time) (map[division.Ref]federation.Freshness, error)
}

// statistics is the service at one division.
type statistics struct {
	Options
	self division.Ref
}

// Definition returns the statistics' tables, feed and pages. It panics on a Site that names
// no division.
func Definition(o Options) service.Definition {
	if o.places == nil {
		o.tree = tree{federation.ReadPlaces, federation.Below, federation.ReadFreshness}
	}
	s := &statistics{Options: o}
	if o.Site != (service.Site{}) {
		level, err := division.ParseLevel(o.Site.Level)
		if err != nil {
			panic(fmt.Sprintf("statistics: the site names no division: %v", err))
		}
		s.self = division.Ref{Level: level, Code: division.Code(o.Site.Code)}
	}
	return service.Definition{
		Name:       "statistics",
		Migrations: folder("migrations"), Templates: folder("templates"), Messages: folder("messages"),
		Routes: []service.Route{
			{Scope: service.DivisionScope, Pattern: "GET /statistics", Need: service.Public, Handle: s.page},
			{Scope: service.DivisionScope, Pattern: "GET /statistics/export.csv", Need: service.Public, Handle: s.export},
		},
		Feeds: []service.Feed{{Name: service.CountFeed, Format: service.CountFormat, Fold: s.fold, FoldUp: s.foldUp}},
		Menu: []service.MenuEntry{{Scope: service.DivisionScope, Path: "/statistics", Title: "statistics.menu",
			Need: service.Public, Order: 24}},
	}
}

func folder(name string) fs.FS {
	out, err := fs.Sub(files, name)
	if err != nil {
		panic(err) // It is embedded above.
	}
	return out
}
