package portal

import (
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"tongban/service"
)

// The kitchen sink is a service that shows every component of the frame. It stands for
// all services in this package's tests.

var noon = time.Date(2026, 11, 24, 6, 20, 0, 0, time.UTC) // 14:20 in Shanghai.

var permOwn = service.Permission{Name: "sink.own", Roles: []service.Role{service.RoleOfficer}}

type sinkStep struct {
	Title, State, Note string
	At                 time.Time
}

type sinkRow struct {
	Number, Name, State, Colour string
	Days                        int
	At                          time.Time
}

type sinkChoice struct{ Value, Text string }

type sinkData struct {
	Query, Amount string
	Cards         []map[string]any
	Rows          []sinkRow
	Steps         []sinkStep
	Choices       []sinkChoice
}

func sinkFiles(t testing.TB) fs.FS {
	t.Helper()
	return os.DirFS("testdata/sink")
}

func sink(t testing.TB) service.Definition {
	return service.Definition{Name: "sink", Templates: sinkFiles(t), Messages: sinkFiles(t),
		Menu: []service.MenuEntry{
			{Scope: service.DivisionScope, Path: "/", Title: "sink.menu_home", Need: service.Public, Order: 1},
			{Scope: service.DivisionScope, Path: "/rows", Title: "sink.menu_rows", Need: service.Public, Order: 2},
			{Scope: service.TenantScope, Path: "/own", Title: "sink.menu_own", Need: permOwn, Order: 3},
		}}
}

func newPortal(t testing.TB) *Portal {
	t.Helper()
	p, err := New(Options{Site: Site{Site: service.Site{Code: "511602", Level: "county", Name: "广安区", Full: "四川省广安市广安区"},
		NameEN: "Guang'an District"}, Definitions: []service.Definition{sink(t)}, SignIn: "/sign-in", SignOut: "/sign-out"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func sinkContent(query string) sinkData {
	return sinkData{Query: query, Amount: "1200",
		Cards: []map[string]any{
			{"Title": "居民身份证申领", "Path": "/rows/1", "Text": "年满十六周岁的居民首次申领，或者证件到期、丢失后换领、补领。", "Foot": "法定 60 日 · 承诺 10 个工作日"},
			{"Title": "城乡居民养老保险参保登记", "Path": "/rows/2", "Text": "年满 16 周岁、未参加职工养老保险的城乡居民。", "Foot": "社会保障局", "Tag": "即办", "Colour": "green"},
		},
		Rows: []sinkRow{
			{"511602-012-20261124-000317", "城乡居民养老保险待遇申领", "open", "blue", 5, noon},
			{"511602-012-20261123-000288", "食品经营许可（新办）", "fix", "yellow", 1, noon.Add(-24 * time.Hour)},
			{"511602-012-20261101-000101", "道路旅客运输经营许可", "late", "red", -3, noon.Add(-22 * 24 * time.Hour)},
		},
		Steps: []sinkStep{
			{"sink.step_sent", "done", "", noon.Add(-48 * time.Hour)},
			{"sink.step_taken", "done", "sink.step_note", noon.Add(-24 * time.Hour)},
			{"sink.step_check", "current", "", time.Time{}},
			{"sink.step_end", "todo", "", time.Time{}},
		},
		Choices: []sinkChoice{{"id", "居民身份证"}, {"book", "户口簿"}},
	}
}

func officer() service.Principal {
	return service.Principal{Kind: service.Staff, Account: "a1", Name: "王敏", Grants: []service.Grant{{Tenant: "sbj", Role: service.RoleOfficer}}}
}

// sinkHandler serves the kitchen sink as package node will serve the services.
func sinkHandler(t testing.TB, p *Portal) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(AssetsPath, p.Assets())
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		v := View{Response: service.Page("sink/everything", "sink.everything", sinkContent(r.URL.Query().Get("q"))),
			Now: noon, AsOf: noon, Key: "k1", Principal: officer(), Flash: "sink.saved"}
		v.Crumbs = []service.Crumb{{Title: "sink.menu_home", Path: "/"}, {Title: "sink.everything"}}
		p.Render(w, r, v)
	})
	mux.HandleFunc("GET /form", func(w http.ResponseWriter, r *http.Request) {
		p.Render(w, r, View{Response: service.Page("sink/form", "sink.form", sinkContent("")), Now: noon, Key: "k1"})
	})
	mux.HandleFunc("POST /form", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1 << 20); err != nil {
			t.Error(err)
		}
		p.Render(w, r, refusedForm(r.Form))
	})
	mux.HandleFunc("GET /refused", func(w http.ResponseWriter, r *http.Request) {
		p.RenderError(w, r, "", service.ErrNotFound, "01JQ8Z7M2K")
	})
	return p.SecurityHeaders(mux)
}

func refusedForm(typed url.Values) View {
	refusal := service.ErrInvalid.Field("name", "sink.name_missing").Field("phone", "sink.phone_bad").Field("how", "sink.how_missing")
	return View{Response: service.Page("sink/form", "sink.form", sinkContent("")), Now: noon, Key: "k2",
		Error: refusal, Values: typed}
}
