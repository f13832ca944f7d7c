package federation_test

import (
	"errors"
	"testing"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/service"
	"tongban/service/servicetest"
)

var district = division.Ref{Level: division.County, Code: "511602"}

func world(t *testing.T) *servicetest.World {
	t.Helper()
	return servicetest.New(t, federation.New(federation.Options{}).Definition())
}

func TestATokenIsGoodOnceAndForItsTime(t *testing.T) {
	w := world(t)
	w.Update(w.Division, func(tx *service.Tx) error {
		for _, id := range []string{"used", "late", "good"} {
			if err := federation.MintToken(tx, federation.Token{ID: id, Ref: district, Secret: []byte(id), Replace: id == "good",
				Expires: tx.Now().Add(map[string]time.Duration{"used": 2, "late": 1, "good": 3}[id] * time.Hour)}); err != nil {
				return err
			}
		}
		return federation.SpendToken(tx, "used", []byte("document"), []byte("answer"))
	})
	w.Clock.Set(w.Clock.Now().Add(90 * time.Minute))
	for id, want := range map[string]error{"used": federation.ErrTokenSpent, "late": federation.ErrTokenExpired, "none": federation.ErrTokenUnknown} {
		err := w.Division.Update(t.Context(), func(tx *service.Tx) error { return federation.SpendToken(tx, id, nil, nil) })
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", id, err, want)
		}
	}
	w.View(w.Division, func(v *service.View) error {
		list, err := federation.ReadTokens(v)
		if err != nil || len(list) != 1 || list[0].ID != "good" || list[0].Ref != district || !list[0].Replace || list[0].Created.IsZero() {
			t.Errorf("tokens that can be used: %+v, %v", list, err)
		}
		used, err := federation.ReadToken(v, "used") // Kept: its answer may be asked for again.
		if err != nil || used.Spent.IsZero() || string(used.Request) != "document" || string(used.Answer) != "answer" || string(used.Secret) != "used" {
			t.Errorf("the used one: %+v, %v", used, err)
		}
		return nil
	})
}

func TestOldTokensAreForgotten(t *testing.T) {
	w := world(t)
	mint := func(id string) {
		w.Update(w.Division, func(tx *service.Tx) error {
			return federation.MintToken(tx, federation.Token{ID: id, Ref: district, Secret: []byte(id), Expires: tx.Now().Add(time.Hour)})
		})
	}
	mint("first")
	w.Clock.Set(w.Clock.Now().AddDate(0, 0, 29))
	mint("second")
	if n := w.Count(w.Division, `SELECT count(*) FROM federation_token`); n != 2 {
		t.Errorf("after four weeks there are %d tokens, want both", n)
	}
	w.Clock.Set(w.Clock.Now().AddDate(0, 0, 3))
	mint("third")
	if n := w.Count(w.Division, `SELECT count(*) FROM federation_token WHERE id = 'first'`); n != 0 {
		t.Error("the secret of a token that expired a month ago is still there")
	}
}

func TestAChildIsEnteredHeldAndFreed(t *testing.T) {
	w := world(t)
	read := func() (c federation.Child) {
		w.View(w.Division, func(v *service.View) (err error) { c, err = federation.ReadChild(v, district); return err })
		return c
	}
	w.Update(w.Division, func(tx *service.Tx) error {
		return federation.EnterChild(tx, federation.Child{Ref: district, Name: "511602.511600.tongban.internal", CA: []byte("one")})
	})
	entered := read()
	if entered.State != federation.Active || entered.Enrolled.IsZero() || string(entered.CA) != "one" {
		t.Errorf("entered: %+v", entered)
	}
	w.Update(w.Division, func(tx *service.Tx) error {
		if err := tx.Exec(`INSERT INTO federation_received (neighbour, stream, epoch, version, token, before, scan)
			VALUES (?, 'up', 'e', 7, 'new', 'old', 0)`, district.String()); err != nil {
			return err
		}
		return federation.HoldChild(tx, district, federation.HeldDuplicate)
	})
	if c := read(); c.State != federation.Held || c.Reason != federation.HeldDuplicate {
		t.Errorf("held: %+v", c)
	}
	w.Update(w.Division, func(tx *service.Tx) error {
		if err := federation.RenewChild(tx, district, "511602.tongban.internal", []byte("two")); err != nil {
			return err
		}
		return federation.FreeChild(tx, district)
	})
	if c := read(); c.State != federation.Active || c.Reason != "" || string(c.CA) != "two" || !c.Enrolled.Equal(entered.Enrolled) {
		t.Errorf("freed: %+v", c)
	}
	if n := w.Count(w.Division, `SELECT count(*) FROM federation_received WHERE token = '' AND before = '' AND version = 7`); n != 1 {
		t.Error("a freed child is asked for a token that the other copy may have")
	}
	err := w.Division.Update(t.Context(), func(tx *service.Tx) error { return federation.FreeChild(tx, division.Nation) })
	if !errors.Is(err, federation.ErrNoChild) {
		t.Errorf("free a stranger: %v", err)
	}
}

// TestAHoldAndAnEnrolmentEndTheOtherTokens: with one that was left over, who is held would
// let itself in again, and who has found it would take the child's place.
func TestAHoldAndAnEnrolmentEndTheOtherTokens(t *testing.T) {
	w := world(t)
	other := division.Ref{Level: division.County, Code: "511603"}
	mint := func(tx *service.Tx, ids ...string) {
		for _, id := range ids {
			ref := district
			if id == "other" {
				ref = other
			}
			must(t, federation.MintToken(tx, federation.Token{ID: id, Ref: ref, Secret: []byte(id), Replace: true, Expires: tx.Now().Add(time.Hour)}))
		}
	}
	left := func() (ids string) {
		w.View(w.Division, func(v *service.View) error {
			list, err := federation.ReadTokens(v)
			for _, one := range list {
				ids += one.ID + " "
			}
			return err
		})
		return ids
	}
	w.Update(w.Division, func(tx *service.Tx) error {
		mint(tx, "one", "two", "other")
		must(t, federation.SpendToken(tx, "one", []byte("request"), []byte("answer")))
		return federation.EnterChild(tx, federation.Child{Ref: district, CA: []byte("ca")})
	})
	if got := left(); got != "other " {
		t.Errorf("after the enrolment %q can be used", got)
	}
	w.Update(w.Division, func(tx *service.Tx) error {
		mint(tx, "three")
		return federation.HoldChild(tx, district, federation.HeldOperator)
	})
	if got := left(); got != "other " {
		t.Errorf("after the hold %q can be used", got)
	}
	w.View(w.Division, func(v *service.View) error {
		used, err := federation.ReadToken(v, "one") // Its answer may be asked for again.
		if string(used.Answer) != "answer" {
			t.Errorf("the used one: %+v", used)
		}
		return err
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheParentIsKept(t *testing.T) {
	w := world(t)
	city := division.Ref{Level: division.City, Code: "511600"}
	read := func() (p federation.Parent, ok bool) {
		w.View(w.Division, func(v *service.View) (err error) { p, ok, err = federation.ReadParent(v); return err })
		return p, ok
	}
	if p, ok := read(); ok {
		t.Errorf("a fresh division has the parent %+v", p)
	}
	set := func(p federation.Parent) {
		w.Update(w.Division, func(tx *service.Tx) error { return federation.SetParent(tx, p) })
	}
	set(federation.Parent{Ref: city, Links: []string{"a:1", "b:2"}, Chain: [][]byte{{1}, {2, 3}}})
	first, ok := read()
	if !ok || first.Ref != city || len(first.Links) != 2 || len(first.Chain) != 2 || string(first.Chain[1]) != "\x02\x03" {
		t.Fatalf("got %+v, %v", first, ok)
	}
	w.Clock.Set(w.Clock.Now().Add(time.Hour))
	set(federation.Parent{Ref: city, Links: []string{"c:3"}})
	if p, _ := read(); !p.Enrolled.Equal(first.Enrolled) || len(p.Links) != 1 {
		t.Errorf("renewed: %+v", p)
	}
	set(federation.Parent{Ref: division.Nation})
	if p, _ := read(); !p.Enrolled.After(first.Enrolled) || p.Ref != division.Nation {
		t.Errorf("moved: %+v", p)
	}
}
