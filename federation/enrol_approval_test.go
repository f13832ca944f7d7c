package federation_test

import (
	"errors"
	"testing"
	"time"

	"tongban/federation"
	"tongban/service"
)

func TestATokenWaitsIsApprovedAndIsGoodAgain(t *testing.T) {
	w := world(t)
	w.Update(w.Division, func(tx *service.Tx) error {
		var errs []error
		for _, id := range []string{"first", "second"} {
			errs = append(errs, federation.MintToken(tx, federation.Token{ID: id, Ref: district, Secret: []byte(id), Expires: tx.Now().Add(time.Hour)}))
		}
		return errors.Join(append(errs, federation.AskToken(tx, "first", []byte("who"), "abcd"))...)
	})
	change := func(do func(tx *service.Tx) error) error { return w.Division.Update(t.Context(), do) }
	if err := change(func(tx *service.Tx) error { return federation.AskToken(tx, "first", []byte("thief"), "0000") }); !errors.Is(err, federation.ErrTokenUnknown) {
		t.Errorf("another one asked with the same token: %v", err)
	}
	if err := change(func(tx *service.Tx) error { return federation.ApproveToken(tx, "second", tx.Now()) }); !errors.Is(err, federation.ErrTokenUnknown) {
		t.Errorf("a token with which nobody came was approved: %v", err)
	}
	w.Clock.Set(w.Clock.Now().Add(24 * time.Hour))
	waiting := func() (list []federation.Token) {
		w.View(w.Division, func(v *service.View) (err error) { list, err = federation.ReadWaiting(v); return err })
		return list
	}
	if list := waiting(); len(list) != 1 || list[0].ID != "first" || list[0].Print != "abcd" || string(list[0].Asker) != "who" || !list[0].Waits() {
		t.Errorf("who waits, after the token has expired: %+v", list)
	}
	w.Update(w.Division, func(tx *service.Tx) error { return federation.ApproveToken(tx, "first", tx.Now().Add(time.Hour)) })
	w.View(w.Division, func(v *service.View) error {
		got, err := federation.ReadToken(v, "first")
		if err != nil || got.Waits() || got.Approved.IsZero() || got.Check(v.Now()) != nil {
			t.Errorf("approved: %+v, %v, %v", got, err, got.Check(v.Now()))
		}
		return nil
	})
	if n := len(waiting()); n != 0 {
		t.Errorf("%d wait after the approval", n)
	}
	w.Update(w.Division, func(tx *service.Tx) error { return federation.DropToken(tx, "first") })
	if err := change(func(tx *service.Tx) error { return federation.SpendToken(tx, "first", nil, nil) }); !errors.Is(err, federation.ErrTokenUnknown) {
		t.Errorf("a token that was dropped: %v", err)
	}
}

func TestThePolicyIsAutomaticUntilItIsSet(t *testing.T) {
	w := world(t)
	policy := func(want federation.Approval) {
		t.Helper()
		w.View(w.Division, func(v *service.View) error {
			if got, err := federation.ReadApproval(v); err != nil || got != want {
				t.Errorf("%s, %v, want %s", got, err, want)
			}
			return nil
		})
	}
	policy(federation.Automatic)
	for _, a := range []federation.Approval{federation.ByAdmin, federation.Automatic} {
		w.Update(w.Division, func(tx *service.Tx) error { return federation.SetApproval(tx, a) })
		policy(a)
	}
}
