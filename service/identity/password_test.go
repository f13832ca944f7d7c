package identity

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"tongban/service"
)

func TestPasswordHashes(t *testing.T) {
	h := newHasher()
	hash, err := h.hash(t.Context(), "a long password")
	if err != nil {
		t.Fatal(err)
	}
	again, err := h.hash(t.Context(), "a long password")
	if err != nil || hash == again {
		t.Errorf("one password has one hash twice (%v): there is no salt", err)
	}
	const decomposed, composed = "cafe\u0301 au lait", "caf\u00e9 au lait"
	accents, err := h.hash(t.Context(), decomposed)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, hash, password string
		want                 bool
	}{
		{"the password", hash, "a long password", true},
		{"the other hash of it", again, "a long password", true},
		{"an accent typed on another keyboard", accents, composed, true},
		{"another case", hash, "A long password", false},
		{"a blank more", hash, "a long password ", false},
		{"nothing", hash, "", false},
		{"something too long", hash, strings.Repeat("a", 1<<20), false},
		{"nothing for an account without a password", "", "", false},
		{"anything for an account without a password", "", "a long password", false},
	} {
		if got, err := h.verify(t.Context(), c.hash, c.password); err != nil || got != c.want {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
	for _, bad := range []string{"x", "$argon2i$v=19$m=1,t=1,p=1$AA$AA", strings.Replace(hash, "v=19", "v=16", 1), hash[:40], strings.Replace(hash, "m=", "m", 1)} {
		if ok, err := h.verify(t.Context(), bad, "a long password"); ok || err == nil {
			t.Errorf("the malformed hash %q: %v, %v", bad, ok, err)
		}
	}
}

// The answer for an account that does not exist must take as long. The fastest of some
// runs is compared, coarsely: leaving the work out makes it a thousand times faster.
func TestNoPasswordTakesAsLongAsAWrongOne(t *testing.T) {
	h := newHasher()
	hash, err := h.hash(t.Context(), "a long password")
	if err != nil {
		t.Fatal(err)
	}
	fastest := func(hash string) time.Duration {
		best := time.Hour
		for range 7 {
			start := time.Now()
			if _, err := h.verify(t.Context(), hash, "not the password"); err != nil {
				t.Fatal(err)
			}
			best = min(best, time.Since(start))
		}
		return best
	}
	known, unknown := fastest(hash), fastest("")
	if unknown < known/2 || known < unknown/2 {
		t.Errorf("a wrong password takes %s, none %s", known, unknown)
	}
}

func TestHashingIsBounded(t *testing.T) {
	h := newHasher()
	ctx, cancel := context.WithCancel(t.Context())
	for range maxHashing { // Somebody is at work in every slot.
		if err := h.enter(ctx); err != nil {
			t.Fatal(err)
		}
	}
	waiters := make(chan error)
	for range maxWaiting - maxHashing {
		go func() { waiters <- h.enter(ctx) }()
	}
	deadline := time.Now().Add(10 * time.Second)
	for len(h.waiting) < maxWaiting { // Until all of them wait.
		runtime.Gosched()
		if time.Now().After(deadline) {
			t.Fatalf("only %d wait", len(h.waiting))
		}
	}
	if _, err := h.verify(ctx, "", "x"); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("with %d waiting, one more: %v", maxWaiting, err)
	}
	cancel()
	for range maxWaiting - maxHashing {
		if err := <-waiters; !errors.Is(err, context.Canceled) {
			t.Errorf("a caller who left: %v", err)
		}
	}
	h.leave()
	if ok, err := h.verify(t.Context(), "", "x"); ok || err != nil {
		t.Errorf("afterwards: %v, %v", ok, err)
	}
	h.leave()
	if len(h.waiting) != 0 || len(h.slots) != 0 {
		t.Errorf("%d slots and %d places are never given back", len(h.slots), len(h.waiting))
	}
}
