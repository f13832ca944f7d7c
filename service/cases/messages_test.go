package cases

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEverythingThatIsShownHasAMessage looks for the keys that the program makes up at run
// time; the portal looks for those that templates name.
func TestEverythingThatIsShownHasAMessage(t *testing.T) {
	var keys []string
	for _, s := range states {
		keys = append(keys, "cases.state."+string(s))
	}
	for _, m := range Table() {
		keys = append(keys, "cases.event."+string(m.Action), "cases.who."+string(m.Who))
		if m.Who == Officer || m.Who == Head {
			keys = append(keys, "cases.do."+string(m.Action), "cases.hint."+string(m.Action))
		}
		if m.Who != Program && m.Action != Submit {
			keys = append(keys, "cases.done_"+string(m.Action))
		}
		for _, code := range NeedsOf(m.Action).Code {
			keys = append(keys, "cases.code."+code)
		}
	}
	for _, state := range lodgedStates[1:] {
		keys = append(keys, "cases.lodged_state."+state)
	}
	for _, kind := range idKinds {
		keys = append(keys, "cases.id."+kind)
	}
	for _, v := range views {
		keys = append(keys, "cases.view."+v.name)
	}
	keys = append(keys, literals(t)...)
	for _, file := range []string{"messages/active.zh.toml", "messages/active.en.toml"} {
		data, err := fs.ReadFile(pages, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			if !strings.Contains(string(data), `"`+key+`"`) {
				t.Errorf("%s lacks %s", file, key)
			}
		}
	}
}

// literals are the keys that the Go files name: reasons, titles, notices.
func literals(t *testing.T) []string {
	t.Helper()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		data, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`"(cases\.[a-z_]+(\.[a-z_]+)?)"`).FindAllStringSubmatch(string(data), -1) {
			// Not permissions, the refused event, and beginnings of keys.
			if !slices.Contains([]string{"cases.handle", "cases.approve", "cases.read", "cases.track", "cases.lodge", "cases.lodged"}, found[1]) && !strings.HasSuffix(found[1], "_") {
				keys = append(keys, found[1])
			}
		}
	}
	if len(keys) < 30 {
		t.Fatalf("only %d keys found", len(keys))
	}
	return keys
}

// TestTheFormsOfferWhatTheTableKnows compares the choices that templates spell out.
func TestTheFormsOfferWhatTheTableKnows(t *testing.T) {
	read := func(file string) string {
		data, err := fs.ReadFile(pages, "templates/"+file)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	acts, list, form := read("act.html"), read("list.html"), read("parts.html")
	for action, n := range needs {
		for _, code := range n.Code {
			if !strings.Contains(acts, `(choice "`+code+`"`) {
				t.Errorf("the form of %s does not offer %s", action, code)
			}
		}
	}
	for _, s := range states {
		if !strings.Contains(list, `(choice "`+string(s)+`"`) {
			t.Errorf("the list cannot be filtered by %s", s)
		}
	}
	for _, kind := range idKinds {
		if !strings.Contains(form, `(choice "`+kind+`"`) {
			t.Errorf("the application does not offer %s", kind)
		}
	}
}
