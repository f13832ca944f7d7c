package leaf

import (
	"crypto/x509"
	"errors"
	"slices"
	"testing"
	"time"

	"tongban/federation"
)

const renewal = "trust" // The one kind of the limited lines here.

func TestALimitedLineCarriesOneKindUp(t *testing.T) {
	s := newStreet(t)
	s.setOnly(qianfg, renewal)
	child, err := Open(Options{Self: qianfg, Handle: echo, Log: quiet(t), pace: quick})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { child.Close() })
	up := &Parent{Ref: city, Addresses: []string{s.Addr().String()}, TLS: s.rogueCA.client(t, s.ca), Only: renewal}
	child.SetParent(up)
	await(t, "a limited line", func() bool { return child.Connected(city) })
	ask(t, child, city, renewal, "please", "county/511603 trust please")
	for _, kind := range []string{"feed", "mail", "ask"} {
		if _, err := child.Call(within(t, 5*time.Second), city, kind, nil); !errors.Is(err, federation.ErrUnreachable) {
			t.Errorf("%s over a limited line: %v", kind, err)
		}
		if _, err := s.Server.Call(within(t, 5*time.Second), qianfg, kind, nil); !errors.Is(err, federation.ErrUnreachable) {
			t.Errorf("the parent asks %s over a limited line: %v", kind, err)
		}
	}
	if s.Connected(qianfg) {
		t.Error("the parent takes the child for connected")
	}
	s.undisturbed(t)

	s.setOnly(qianfg, "")
	full := *up
	full.Only = ""
	child.SetParent(&full)
	s.awaitLine(t, child)
	ask(t, child, city, "feed", "x", "county/511603 feed x")
	ask(t, s.Server, qianfg, "feed", "y", "city/511600 feed y")
}

// A child that does not know that it is limited, because its clock is behind, loses calls
// and keeps the line.
func TestAChildThatDoesNotKnowItIsLimitedCanRenew(t *testing.T) {
	s := newStreet(t)
	s.setOnly(qianfg, renewal)
	child := openChild(t, qianfg, s.rogueCA, s.ca, echo, s.Addr().String())
	await(t, "a limited line", func() bool { return child.Connected(city) })
	if _, err := child.Call(within(t, 100*time.Millisecond), city, "feed", nil); err == nil {
		t.Error("a feed crossed a limited line")
	}
	ask(t, child, city, renewal, "please", "county/511603 trust please")
	if got := s.fromOthers(); !slices.Equal(got, []string{"county/511603 trust please"}) {
		t.Errorf("it reached the handler: %q", got)
	}
}

func TestRogueOnALimitedLineGetsNothingElse(t *testing.T) {
	for _, subject := range []string{
		"up.county-511603.rq.feed", "up.county-511603.rq.mail", "up.county-511603.rq.ask", "up.county-511603.rq.trust.x",
		"up.county-511603.rp.x.y", "up.county-511602.rq.trust", "dn.county-511603.rp.x.y", "dn.all.x",
	} {
		t.Run(subject, func(t *testing.T) {
			s := newStreet(t)
			s.setOnly(qianfg, renewal)
			r := newRogue(t, s.hub, s.rogueCA, nil)
			r.joined(t, s.hub)
			r.publish("up.county-511603.rq.trust", theirs, packRequest(time.Second, []byte("honestly")))
			await(t, "the request that it may send", func() bool { return slices.Contains(s.fromOthers(), "county/511603 trust honestly") })
			r.publish(subject, theirs, packRequest(time.Second, []byte("evil")))
			await(t, "the end of the rogue's connection", r.ended)
			s.undisturbed(t)
			if got := s.fromOthers(); len(got) > 0 {
				t.Errorf("it reached the handler: %q", got)
			}
		})
	}
}

// The rogue has an old certificate of one box of the county; the county's other boxes are
// connected as they should be.
func TestRogueOnALimitedLineHearsNothingOfItsOwnDivision(t *testing.T) {
	s := newStreet(t)
	sound := openChild(t, qianfg, s.rogueCA, s.ca, echo, s.Addr().String())
	s.awaitLine(t, sound)
	s.setOnly(qianfg, renewal)
	r := newRogue(t, s.hub, s.rogueCA, nil)
	r.joined(t, s.hub)
	for _, subject := range []string{">", "dn.>", "dn.county-511603.>", "dn.county-511603.rp.>", "dn.county-511603.rq.>", "dn.all.>", "up.*.rq.*"} {
		r.send("LS+ %s\r\nLS+ %s node 1000\r\n", subject, subject)
	}
	r.publish("up.county-511603.rq.trust", theirs, packRequest(time.Second, []byte("marker")))
	await(t, "the answer to its request, or the end", func() bool { return r.saw("county/511603 trust marker") || r.ended() })
	for range 20 {
		ask(t, sound, city, "feed", "secret", "county/511603 feed secret")
		ask(t, s.Server, qianfg, "mail", "secret", "city/511600 mail secret")
	}
	if r.saw("secret") {
		t.Error("the rogue heard what is for another box of the county")
	}
	for range 3 * maxLines { // Nor does it take that box's place.
		newRogue(t, s.hub, s.rogueCA, nil)
	}
	await(t, "the limited lines take each other's place", func() bool {
		s.down.mu.Lock()
		defer s.down.mu.Unlock()
		return len(s.down.children[token(qianfg)].lines) >= maxLines
	})
	ask(t, sound, city, "feed", "secret", "county/511603 feed secret")
}

func TestALineEndsWithTheFirstCertificateThatWasShown(t *testing.T) {
	soon, later := time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	for _, chain := range [][]time.Time{{soon}, {soon, later}, {later, soon}} {
		var certs []*x509.Certificate
		for _, end := range chain {
			certs = append(certs, &x509.Certificate{NotAfter: end})
		}
		if got := firstEnd(certs); !got.Equal(soon) {
			t.Errorf("of %v it ends at %v", chain, got)
		}
	}
}
