package federation

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// An entry is shown on pages, and its portal is where a search's hits lead.
func TestWhatNoEntryMayHold(t *testing.T) {
	f := New(Options{Self: top, Letters: letters{top}})
	for name, c := range map[string]struct {
		change func(e *Entry)
		good   bool
	}{
		"an honest one":             {func(*Entry) {}, true},
		"no portal yet":             {func(e *Entry) { e.Web = "" }, true},
		"a script":                  {func(e *Entry) { e.Web = "javascript:alert(1)//https://x" }, false},
		"another scheme":            {func(e *Entry) { e.Web = "data:text/html,x" }, false},
		"no host":                   {func(e *Entry) { e.Web = "https:///x" }, false},
		"somebody's password":       {func(e *Entry) { e.Web = "https://portal.example:443@evil.example" }, false},
		"a portal without end":      {func(e *Entry) { e.Web = "https://x.example/" + strings.Repeat("x", maxEntryWeb) }, false},
		"a name without end":        {func(e *Entry) { e.Name = strings.Repeat("市", maxEntryName+1) }, false},
		"a name of two lines":       {func(e *Entry) { e.Name = "a\nb" }, false},
		"certificates without end":  {func(e *Entry) { e.Chain = [][]byte{make([]byte, maxEntry)} }, false},
		"a name that is one longer": {func(e *Entry) { e.Name = strings.Repeat("市", maxEntryName) }, true},
	} {
		e := Entry{Ref: west, Parent: top, Name: "西", Web: "https://west.example"}
		c.change(&e)
		payload, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.openEntry(west, payload); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A division that goes to another parent was silent below its former one, which then takes
// that back.
func TestADivisionThatMovedIsSilentNoMore(t *testing.T) {
	mailStory(t, "once its former teller takes that back", func(_ *testing.T, p *post) {
		moved := division.Ref{Level: division.County, Code: "511602"}
		enter := func(tx *service.Tx, via division.Ref) error {
			return tx.Exec(`INSERT OR REPLACE INTO federation_directory (ref, parent, name, web, epoch, row, via) VALUES (?, '', '', '', '', '{}', ?)`,
				moved.String(), via.String())
		}
		fold := func(from division.Ref, payload string) func(tx *service.Tx) error {
			return func(tx *service.Tx) error {
				return foldSilent(tx, from, []service.FeedRow{{Feed: feedSilent, Key: moved.String(), Payload: []byte(payload)}})
			}
		}
		div := p.boxes[top].db(p.boxes[top].div)
		update := func(fn func(tx *service.Tx) error) { p.must(div.Update(p.ctx, fn)) }
		silent := func() (n int) {
			p.must(div.View(p.ctx, replication.Local, func(v *service.View) error {
				return v.QueryRow(`SELECT count(*) FROM federation_silent WHERE ref = ?`, moved.String()).Scan(&n)
			}))
			return n
		}
		update(func(tx *service.Tx) error { return enter(tx, westTop) })
		update(fold(westTop, `{"as_of":"`+time.Now().Format(time.RFC3339)+`"}`))
		update(func(tx *service.Tx) error { return enter(tx, eastTop) })
		update(fold(eastTop, ""))
		if silent() != 1 {
			p.t.Error("another than its teller took it back")
		}
		update(fold(westTop, ""))
		if silent() != 0 {
			p.t.Error("it is silent for ever")
		}
	})
}
