package node_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/node"
	"tongban/node/nodetest"
	"tongban/node/trust"
	"tongban/service"
	"tongban/service/audit"
	"tongban/tenancy"
)

// TestCertificatesAreRenewedWhileTheDivisionServes has certificates that last for seconds:
// each node shows several, one after the other, and the division writes all the time.
func TestCertificatesAreRenewedWhileTheDivisionServes(t *testing.T) {
	c := nodetest.Division(t, 3, nodetest.Certificates(8*time.Second, 200*time.Millisecond))
	// A leadership that is lost on a busy machine costs a write and a second or two.
	const changes, longest = 2, 6 * time.Second
	seen := make([]map[string]bool, c.Len())
	for i := range seen {
		seen[i] = map[string]bool{}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writing sync.WaitGroup
	writing.Add(1)
	last, gap := time.Now(), time.Duration(0)
	go func() {
		defer writing.Done()
		pace := time.NewTicker(50 * time.Millisecond)
		defer pace.Stop()
		for i := 0; ; i = (i + 1) % c.Len() {
			select {
			case <-ctx.Done():
				gap = max(gap, time.Since(last))
				return
			case <-pace.C:
			}
			admin := c.Admin(i)
			err := admin.Post(ctx, "/node/token", node.TokenRequest{}, new(node.TokenReply))
			admin.Close()
			if err == nil {
				gap, last = max(gap, time.Since(last)), time.Now()
			} else if ctx.Err() == nil {
				t.Logf("a write through node %d: %v", i+1, err)
			}
		}
	}()
	c.Await("all nodes have shown several certificates", func() bool {
		done := true
		for i := range seen {
			if cert := c.Certificate(i); cert != nil {
				if time.Until(cert.NotAfter) < 0 {
					t.Fatalf("node %d shows a certificate that ended at %s", i+1, cert.NotAfter)
				}
				seen[i][trust.Fingerprint(cert)] = true
			}
			done = done && len(seen[i]) > changes
		}
		return done
	})
	stop()
	writing.Wait()
	if gap > longest {
		t.Errorf("nothing was written for %s", gap)
	}
	for i := range c.Len() { // New connections, by certificates that no node came with.
		c.Restart(i)
		c.AwaitReady(i)
		c.Token(i)
	}
}

// TestTwoNodesThatRenewedLetTheThirdBackIn: the third one's ledger is from before, and comes
// up to date only over connections that it refuses without a hand-over.
func TestTwoNodesThatRenewedLetTheThirdBackIn(t *testing.T) {
	t.Parallel()
	c := nodetest.Division(t, 3)
	managed := func(i int, before map[string]bool) func() bool {
		return func() bool {
			cert := c.Certificate(i)
			return cert != nil && !before[trust.Fingerprint(cert)]
		}
	}
	before := map[string]bool{}
	for i := range c.Len() {
		first, err := trust.Load(c.Config(i).Data, trust.Division{Code: c.Code, Level: "county"}, c.Config(i).Node)
		must(t, err)
		before[trust.Fingerprint(first.Certificate)] = true
		c.Await(fmt.Sprintf("node %d shows a certificate that it obtained", i+1), managed(i, before))
	}
	for i := range c.Len() {
		before[trust.Fingerprint(c.Certificate(i))] = true
	}
	c.Stop(2)
	c.Stop(1)
	c.Stop(0)
	for i := range 2 {
		c.LoseCertificate(i)
	}
	c.Start(0)
	c.Start(1)
	for i := range 2 {
		c.Await(fmt.Sprintf("node %d shows another certificate", i+1), managed(i, before))
	}
	c.Start(2)
	c.AwaitReady(2)
	c.Token(2) // A write through it.
	c.Stop(0)  // The second and the third are a majority.
	c.Token(1)
}

// TestANodeThatCannotStoreItsCertificatesIsStillBelieved: the disk is full or the answers get
// lost, and each further try must not take the place of the certificate that it shows.
func TestANodeThatCannotStoreItsCertificatesIsStillBelieved(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	nodes := map[string]*node.Node{}
	c := nodetest.Division(t, 2, nodetest.Admin(func(n *node.Node, _ *http.ServeMux) {
		mu.Lock()
		defer mu.Unlock()
		nodes[string(n.Config().Node)] = n
	}))
	var serial string
	c.Await("the second node shows a certificate that it obtained", func() bool {
		first, err := trust.Load(c.Config(1).Data, trust.Division{Code: c.Code, Level: "county"}, c.Config(1).Node)
		cert := c.Certificate(1)
		if err != nil || cert == nil || cert.Equal(first.Certificate) {
			return false
		}
		serial = cert.SerialNumber.String()
		return true
	})
	mu.Lock()
	second := nodes["n2"]
	mu.Unlock()
	for range 6 {
		must(t, second.AskCertificate(t.Context()))
	}
	c.Restart(1)
	c.AwaitReady(1)
	if got := c.Certificate(1).SerialNumber.String(); got != serial {
		t.Fatalf("the node shows another certificate after its restart (%s, not %s): this tests nothing", got, serial)
	}
	c.Token(1) // A write through it: its leader, or its follower, believes it.
}

// TestADivisionThatIsEnrolledGetsCertificatesOfItsNewName gives the division a parent.
func TestADivisionThatIsEnrolledGetsCertificatesOfItsNewName(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	nodes := map[string]*node.Node{}
	c := nodetest.Division(t, 3, nodetest.Admin(func(n *node.Node, _ *http.ServeMux) {
		mu.Lock()
		defer mu.Unlock()
		nodes[string(n.Config().Node)] = n
	}))
	keys, err := trust.Load(c.Config(0).Data, trust.Division{Code: c.Code, Level: "county"}, "n1")
	must(t, err)
	own, err := keys.OpenAuthority(keys.Sealed)
	must(t, err)
	city, err := trust.NewAuthority(trust.Division{Code: "511600", Level: "city"}, time.Now())
	must(t, err)
	csr, err := own.Request()
	must(t, err)
	ca, err := city.SignChild(csr, city.Division.Child(c.Code, "county"), time.Now())
	must(t, err)
	parent := federation.Parent{Ref: division.Ref{Level: division.City, Code: "511600"}, Links: []string{"127.0.0.1:1"},
		Chain: [][]byte{ca.Raw, city.Certificate.Raw}}
	c.Await("the division has a parent", func() bool {
		i := c.Leader(0, tenancy.DivisionDatabase)
		if i < 0 {
			return false
		}
		mu.Lock()
		n := nodes[string(c.Config(i).Node)]
		mu.Unlock()
		db, ok := n.Replica(tenancy.DivisionDatabase)
		return ok && service.NewDB(db, audit.Append).Update(t.Context(), func(tx *service.Tx) error {
			return federation.SetParent(tx, parent)
		}) == nil
	})
	for i := range c.Len() {
		name := string(c.Config(i).Node) + ".511602.511600." + trust.Domain
		c.Await("node "+name+" shows its new name", func() bool {
			cert := c.Certificate(i)
			return cert != nil && cert.DNSNames[0] == name
		})
		if err := c.Certificate(i).CheckSignatureFrom(ca); err != nil {
			t.Errorf("node %d: %v", i+1, err)
		}
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(city.Certificate)
		between.AddCert(ca)
		if _, err := c.Certificate(i).Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err != nil {
			t.Errorf("node %d does not belong to the tree: %v", i+1, err)
		}
	}
	for i := range c.Len() { // Each start meets the new names.
		c.Restart(i)
		c.AwaitReady(i)
	}
	i := c.Join() // And who joins now has the name from the start.
	c.AwaitReady(i)
	joined, err := trust.Load(c.Config(i).Data, trust.Division{Code: c.Code, Level: "county"}, c.Config(i).Node)
	must(t, err)
	if got, want := joined.Certificate.DNSNames[0], string(c.Config(i).Node)+".511602.511600."+trust.Domain; got != want {
		t.Errorf("the box that joined is called %s, not %s", got, want)
	}
}
