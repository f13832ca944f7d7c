package federation

import (
	"embed"
	"io/fs"
	"time"

	"tongban/service"
)

//go:embed migrations
var migrations embed.FS

// Definition is the federation's tables, feeds, workers and pages.
func (f *Federation) Definition() service.Definition {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // The embedded tree is of this file's making.
	}
	d := f.withPages(service.Definition{Name: "federation", Migrations: sub})
	if f.o.Wire == nil { // Only its schema is wanted.
		return d
	}
	d.Workers = []service.Worker{
		{Name: "feeds", Scope: service.DivisionScope, Every: time.Second, Do: f.runFeeds},
		{Name: "mail", Scope: service.TenantScope, Every: time.Second, Do: f.runMail},
		{Name: "trust", Scope: service.DivisionScope, Every: time.Second, Do: f.runTrust},
	}
	return d
}
