package identity_test

import (
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"tongban/service"
	"tongban/service/servicetest"
)

const (
	refused = "identity.sign_in_refused"
	later   = "identity.try_later"
)

// failTimes fails n times and checks each answer.
func failTimes(t *testing.T, p *person, n int, reason string) {
	t.Helper()
	for i := range n {
		if got := p.fail(); got != reason {
			t.Fatalf("failure %d of %s from %s: %q, want %q", i+1, p.login, p.source, got, reason)
		}
	}
}

func TestFiveFailuresLockThePairForAQuarterOfAnHour(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer())
	attacker := p.elsewhere("203.0.113.9")
	failTimes(t, attacker, 5, refused)
	failTimes(t, attacker, 3, later)
	want(t, attacker.signIn(), later) // Not even with all that is right.

	w.Clock.Advance(14 * time.Minute)
	failTimes(t, attacker, 1, later) // What is refused does not count: it does not prolong the lock.
	w.Clock.Advance(61 * time.Second)
	failTimes(t, attacker, 1, refused)
	want(t, attacker.signIn(), "")
}

func TestALockSaysWhenToComeBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer()).elsewhere("203.0.113.9")
	failTimes(t, p, 5, refused)
	w.Clock.Advance(5 * time.Minute)
	_, err := p.do("POST /sign-in", url.Values{"login": {p.login}, "password": {"x"}})
	if got := service.AsError(err).Params["retry_after"]; got != 600 && got != 601 { // The moment is rounded up.
		t.Errorf("retry_after is %v after five of fifteen minutes, want 600 seconds", got)
	}
}

func TestFailuresThatAreFarApartDoNotLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer()).elsewhere("203.0.113.9")
	for range 12 {
		failTimes(t, p, 1, refused)
		w.Clock.Advance(4 * time.Minute)
	}
	want(t, p.signIn(), "")
}

func TestSuccessForgetsThePairsFailures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer()).elsewhere("203.0.113.9")
	for range 3 {
		failTimes(t, p, 4, refused)
		want(t, p.signIn(), "")
		w.Clock.Advance(time.Minute)
	}
}

func TestALockHurtsNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	victim := w.activated(t, "wang.li", officer())
	colleague := w.activated(t, "li.na", officer())
	failTimes(t, victim.elsewhere("203.0.113.9"), 5, refused)
	want(t, victim.signIn(), "")                             // The victim, as always.
	want(t, colleague.elsewhere("203.0.113.9").signIn(), "") // Somebody else at the attacker's address.
	w.Clock.Advance(time.Minute)
	want(t, victim.elsewhere("198.51.100.7").signIn(), "") // The victim with a new computer.
}

func TestAManyHeadedAttackSlowsStrangersOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	victim := w.activated(t, "wang.li", officer())
	head := 0
	next := func() *person { head++; return victim.elsewhere(fmt.Sprintf("203.0.113.%d", head)) }
	for range 10 {
		failTimes(t, next(), 1, refused)
	}
	for i, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} { // Seconds; doubled each time, up to a minute.
		failTimes(t, next(), 1, later)
		w.Clock.Advance(wait*time.Second - slack)
		if got := next().fail(); got != later {
			t.Fatalf("step %d: %q a moment before %d s are over", i, got, wait)
		}
		w.Clock.Advance(2 * slack)
		failTimes(t, next(), 1, refused)
	}
	want(t, victim.signIn(), "") // At the computer where the victim has signed in before.
	colleague := w.activated(t, "li.na", officer())
	w.Clock.Advance(-time.Minute) // What activating took.
	colleague.login = victim.login
	failTimes(t, colleague, 1, later) // Where somebody else has signed in before, the victim is a stranger.
	want(t, victim.elsewhere("192.0.2.1").signIn(), later)
	w.Clock.Advance(61 * time.Second)
	want(t, victim.elsewhere("192.0.2.77").signIn(), "") // Slowed, never locked.
}

func TestAKnownDeviceHasLimitsOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer())
	failTimes(t, p, 5, refused)
	failTimes(t, p, 1, later) // A stolen device cookie does not open the door.
	other := w.activated(t, "li.na", officer())
	other.login, other.password = p.login, "wrong"
	failTimes(t, other, 5, refused) // Somebody else's device is a stranger here.
	failTimes(t, other, 1, later)
}

func TestAnUnknownLoginIsLockedLikeAKnownOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	known := w.activated(t, "wang.li", officer()).elsewhere("203.0.113.9")
	unknown := known.elsewhere("203.0.113.9")
	unknown.login = "nobody.at.all"
	for range 5 {
		a, b := known.fail(), unknown.fail()
		if a != b || a != refused {
			t.Errorf("known: %q, unknown: %q", a, b)
		}
	}
	if a, b := known.fail(), unknown.fail(); a != b || a != later {
		t.Errorf("locked: known %q, unknown %q", a, b)
	}
}

// A thousand guesses at the same moment must not all be looked at before the first is
// counted.
func TestGuessesAtTheSameMomentCountEach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer())
	const guesses = 40
	answers := make(chan string, guesses)
	var all sync.WaitGroup
	for range guesses {
		all.Go(func() { answers <- p.elsewhere("203.0.113.9").fail() })
	}
	all.Wait()
	close(answers)
	count := map[string]int{}
	for a := range answers {
		count[a]++
	}
	if count[refused] != 5 || count[later] != guesses-5 {
		t.Errorf("answers to %d guesses at once: %v; want 5 looked at", guesses, count)
	}
}

func TestAttemptsAreForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer()).elsewhere("203.0.113.9")
	failTimes(t, p, 3, refused)
	w.Clock.Advance(31 * time.Minute)
	failTimes(t, p, 1, refused)
	if n := w.Count(w.Division, `SELECT count(*) FROM identity_attempt`); n != 1 {
		t.Errorf("%d attempts are kept, want the newest only", n)
	}
}

func TestFailuresAreAudited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer()).elsewhere("203.0.113.9")
	failTimes(t, p, 5, refused)
	failTimes(t, p, 2, later)
	if n := w.Count(w.Division, `SELECT count(*) FROM audit_event WHERE refused = 'identity.sign_in_refused' AND account = ? AND kind = 'anonymous'`, p.login); n != 5 {
		t.Errorf("%d of 5 failures are in the audit with the account's id", n)
	}
	if n := w.Count(w.Division, `SELECT count(*) FROM audit_event WHERE refused = 'identity.try_later' AND account = ?`, p.login); n != 1 {
		t.Errorf("%d rows in the audit say that the account was locked for this address, want one a lock", n)
	}
	want(t, p.elsewhere("192.0.2.5").signIn(), "")
	if n := w.Count(w.Division, `SELECT count(*) FROM audit_event WHERE what = 'identity.signed_in' AND subject = ?`, p.login); n != 2 {
		t.Errorf("%d of 2 sign-ins are in the audit", n)
	}
}

// TestNobodyFillsTheDatabaseFromOutside makes every kind of call that somebody without an
// account can repeat for ever.
func TestNobodyFillsTheDatabaseFromOutside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer()).elsewhere("203.0.113.9")
	failTimes(t, p, 5, refused)
	failTimes(t, p, 1, later)
	rows := func() int {
		return w.Count(w.Division, `SELECT (SELECT count(*) FROM audit_event) + (SELECT count(*) FROM service_request)`)
	}
	before := rows()
	failTimes(t, p, 20, later)
	for range 5 {
		if _, err := w.Call("POST /sign-out", servicetest.Citizen(), nil); err != nil {
			t.Errorf("signing out without a session: %v", err)
		}
		_, err := w.Call("POST /activate/code", servicetest.Citizen(), url.Values{"code": {"123456"}})
		want(t, err, "identity.enrolment_gone")
		_, err = w.Call("POST /activate", servicetest.Citizen(), url.Values{"login": {"wang.li"}, "code": {"x"}})
		want(t, err, "identity.activation_refused")
		_, err = w.Call("POST /sign-in", servicetest.Citizen(), url.Values{"login": {"nobody"}, "password": {"x"}})
		want(t, err, refused)
	}
	if now := rows(); now != before {
		t.Errorf("%d rows were left by calls that changed nothing", now-before)
	}
}
