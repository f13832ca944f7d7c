package node_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tongban/federation"
	"tongban/node"
	"tongban/node/nodetest"
	"tongban/node/trust"
)

// notes is a log that can be searched.
type notes struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (n *notes) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(b)
}

func (n *notes) count(words string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Count(n.text.String(), words)
}

// away is a district whose city was off until all that the city had signed was over, for
// so much longer; the district is enrolled and serves.
func away(t *testing.T, longer time.Duration, before func(*family)) (*family, *notes) {
	t.Helper()
	log := &notes{}
	f := newFamily(t, nodetest.Certificates(0, 200*time.Millisecond), nodetest.Log(slog.New(slog.NewTextHandler(log, nil))))
	if _, err := f.enrol(node.EnrolRequest{Token: f.mint("511602", false).Token}); err != nil {
		t.Fatal(err)
	}
	f.city.Await("the city has a line of the district", func() bool { return f.children().Children[0].Connected })
	before(f)
	f.city.Stop(0)
	f.ahead.Store(int64(trust.AuthorityValid + longer))
	if p := f.parent(f.district, 0); !p.NotAfter.Before(f.now()) {
		t.Fatalf("what the city signed ends on %s: this tests nothing", p.NotAfter)
	}
	f.district.Await("the district issues certificates to its boxes by itself", func() bool {
		c := f.district.Certificate(0)
		return c != nil && c.NotAfter.After(f.now())
	})
	f.serves("by-itself")
	return f, log
}

// serves checks that the district answers people and writes.
func (f *family) serves(tenant string) {
	f.t.Helper()
	r, err := http.Get(f.district.URL(0) + "/")
	must(f.t, err)
	r.Body.Close()
	if r.StatusCode != http.StatusOK {
		f.t.Errorf("people get %s", r.Status)
	}
	f.district.CreateTenant(0, tenant, tenant)
}

// back starts the city, whose own certificate has ended too.
func (f *family) back() {
	f.t.Helper()
	f.city.Start(0)
	f.city.AwaitReady(0)
}

// together waits until the district has a line with all rights: the parent does not count
// others.
func (f *family) together() {
	f.t.Helper()
	f.district.Await("the district's authority is signed anew", func() bool { return f.parent(f.district, 0).NotAfter.After(f.now()) })
	f.city.Await("the city has a line of the district with all rights", func() bool { return f.children().Children[0].Connected })
	f.district.Await("the district knows", func() bool { return f.parent(f.district, 0).Connected })
}

// TestADivisionThatWasAwayForLongerThanItsCertificatesComesBack by itself; one that was held
// when it left does not, until it is freed.
func TestADivisionThatWasAwayForLongerThanItsCertificatesComesBack(t *testing.T) {
	t.Parallel()
	f, log := away(t, 30*24*time.Hour, func(f *family) {
		must(t, post(t, f.city, "/node/child/hold", node.ChildRequest{Child: "511602"}, nil))
	})
	f.back()
	f.city.Await("a line of the held district is refused", func() bool { return log.count("is held, and its certificates have ended") > 1 })
	if p := f.parent(f.district, 0); p.NotAfter.After(f.now()) || p.Connected {
		t.Errorf("a held division gets certificates: %+v", p)
	}
	f.serves("while-held")
	var s node.ChildStatus
	must(t, post(t, f.city, "/node/child/free", node.ChildRequest{Child: "511602"}, &s))
	if s.State != federation.Active {
		t.Fatalf("freed: %+v", s)
	}
	f.together()
}

// TestADivisionThatIsRevokedWhileItsCertificatesHaveEndedStaysOut: it could not be told.
func TestADivisionThatIsRevokedWhileItsCertificatesHaveEndedStaysOut(t *testing.T) {
	t.Parallel()
	f, log := away(t, 24*time.Hour, func(f *family) {
		must(t, post(t, f.city, "/node/child/hold", node.ChildRequest{Child: "511602"}, nil))
	})
	f.back()
	must(t, post(t, f.city, "/node/child/revoke", node.ChildRevokeRequest{Child: "511602"}, nil))
	f.city.Await("lines of the district are refused", func() bool {
		return log.count("county/511602 is no child of this division") > 1
	})
	if p := f.parent(f.district, 0); p.NotAfter.After(f.now()) || p.Connected {
		t.Errorf("a revoked division gets certificates: %+v", p)
	}
	f.serves("on-its-own")
}

// TestADivisionThatWasAwayForTooLongServesAndIsEnrolledAgain: a token is what an operator
// needs, and no --replace, because its authority is the same.
func TestADivisionThatWasAwayForTooLongServesAndIsEnrolledAgain(t *testing.T) {
	t.Parallel()
	f, log := away(t, trust.Grace+48*time.Hour, func(*family) {})
	refused := log.count("trust: the peer's certificate is not of this division")
	f.back()
	f.city.Await("lines of the district are refused", func() bool {
		return log.count("trust: the peer's certificate is not of this division") > refused+1
	})
	if p := f.parent(f.district, 0); p.NotAfter.After(f.now()) || p.Connected {
		t.Errorf("after more than %s it gets certificates: %+v", trust.Grace, p)
	}
	f.serves("still")
	if _, err := f.enrol(node.EnrolRequest{Token: f.mint("511602", false).Token}); err != nil {
		t.Fatal(err)
	}
	f.together()
}

// TestADivisionWhoseBoxesWereAllOffForTooLongStarts: three boxes whose certificates have ended
// need each other to issue new ones.
func TestADivisionWhoseBoxesWereAllOffForTooLongStarts(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	c := nodetest.Division(t, 3, nodetest.Clock(clock), nodetest.Certificates(0, 200*time.Millisecond))
	for i := range c.Len() {
		c.Stop(i)
	}
	ahead.Store(int64(trust.CertificateValid + trust.Grace - 24*time.Hour))
	for i := range c.Len() {
		c.Start(i)
	}
	for i := range c.Len() {
		c.AwaitReady(i)
		c.Await("a box shows a certificate that is valid", func() bool {
			cert := c.Certificate(i)
			return cert != nil && cert.NotAfter.After(clock())
		})
		c.Token(i) // A write through it.
	}
	for i := range c.Len() { // By the new certificates alone.
		c.Restart(i)
		c.AwaitReady(i)
		c.Token(i)
	}
}
