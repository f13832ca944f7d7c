package certs_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"tongban/node/certs"
	"tongban/node/trust"
	"tongban/replication"
)

const check = 50 * time.Millisecond

// office is a division's authority and what it was asked for.
type office struct {
	t         *testing.T
	authority *trust.Authority
	node      replication.NodeID

	mu     sync.Mutex
	issued int
	shut   bool
}

func (o *office) certify(_ context.Context, csr []byte) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.shut {
		return nil, errors.New("nobody leads")
	}
	public, err := trust.RequestFor(csr, o.authority.Division.DNSName(o.node))
	if err != nil {
		return nil, err
	}
	cert, err := o.authority.Issue(o.node, public, time.Now())
	if err != nil {
		return nil, err
	}
	o.issued++
	return cert.Raw, nil
}

func (o *office) count() int { o.mu.Lock(); defer o.mu.Unlock(); return o.issued }
func (o *office) close(shut bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shut = shut
}

// open makes a node with the keys that it came with. Its name is the test's own: certmagic
// remembers failures by name, for the whole process.
func open(t *testing.T, n replication.NodeID, valid time.Duration) (*office, *trust.Keys, certs.Options) {
	t.Helper()
	a, err := trust.NewAuthority(trust.Division{Code: "511602", Level: "county"}, time.Now())
	must(t, err)
	key, err := trust.NewKey()
	must(t, err)
	id, err := trust.NewIdentity()
	must(t, err)
	cert, err := a.Issue(n, key.Public(), time.Now())
	must(t, err)
	a.Valid = valid
	o := &office{t: t, authority: a, node: n}
	k := &trust.Keys{Division: a.Division, Node: n, Identity: id, Key: key, Certificate: cert, Authority: a.Certificate}
	return o, k, certs.Options{Data: t.TempDir(), Keys: k, Certify: o.certify, Check: check, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

func TestACertificateIsRenewedBeforeItsTimeIsOver(t *testing.T) {
	o, k, options := open(t, "renewed", 4*time.Second)
	s := certs.Open(options)
	defer s.Close()
	name := o.authority.Division.DNSName("renewed")
	must(t, s.Manage(t.Context(), name))
	seen := []string{trust.Fingerprint(k.TLS().Leaf)}
	if seen[0] == trust.Fingerprint(k.Certificate) {
		t.Fatal("the node still shows the certificate that it came with")
	}
	await(t, "three renewals", func() bool { // By certmagic alone: nobody calls Manage.
		if err := k.Check(time.Now()); err != nil {
			t.Fatalf("the present certificate is not valid: %v", err)
		}
		if now := trust.Fingerprint(k.TLS().Leaf); !slices.Contains(seen, now) {
			seen = append(seen, now)
		}
		return len(seen) > 3
	})
	if o.count() > len(seen)+1 {
		t.Errorf("%d certificates were asked for, %d used", o.count(), len(seen))
	}
	must(t, s.Manage(t.Context(), name))
}

// certmagic waits a minute after the first failure, and for hours after more.
func TestARenewalThatFailedIsMadeUpFor(t *testing.T) {
	o, k, options := open(t, "late", 6*time.Second)
	s := certs.Open(options)
	defer s.Close()
	name := o.authority.Division.DNSName("late")
	must(t, s.Manage(t.Context(), name))
	first := k.TLS().Leaf
	o.close(true)
	await(t, "the certificate is in its last quarter", func() bool {
		return time.Until(first.NotAfter) < time.Second
	})
	if err := s.Manage(t.Context(), name); err == nil {
		t.Error("without a leader the certificate is renewed")
	}
	o.close(false)
	must(t, s.Manage(t.Context(), name))
	if k.TLS().Leaf.Equal(first) {
		t.Error("the certificate was not renewed")
	}
}

func TestTheFilesAreTheNodesAloneAndServeAfterARestart(t *testing.T) {
	elsewhere := certmagic.Default.Storage.(*certmagic.FileStorage).Path // In the home folder.
	before, beforeErr := os.Stat(elsewhere)
	o, k, options := open(t, "files", 0)
	s := certs.Open(options)
	must(t, s.Manage(t.Context(), o.authority.Division.DNSName("files")))
	must(t, s.Manage(t.Context(), o.authority.Division.DNSName("files")))
	s.Close()
	if o.count() != 1 {
		t.Errorf("%d certificates were issued", o.count())
	}
	if left := k.TLS().Leaf.NotAfter; time.Until(left) < trust.CertificateValid-time.Hour {
		t.Errorf("it ends on %s", left)
	}
	files := 0
	must(t, filepath.WalkDir(options.Data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == options.Data {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %04o", path, info.Mode().Perm())
		}
		if !d.IsDir() {
			files++
		}
		return err
	}))
	if files != 3 {
		t.Errorf("%d files", files)
	}
	if now, err := os.Stat(elsewhere); (err == nil) != (beforeErr == nil) || err == nil && now.ModTime() != before.ModTime() {
		t.Errorf("%s was written to", elsewhere)
	}

	again := &trust.Keys{Division: k.Division, Node: k.Node, Key: k.Key, Certificate: k.Certificate, Authority: k.Authority}
	certs.Restore(options.Data, again)
	if !again.TLS().Leaf.Equal(k.TLS().Leaf) {
		t.Error("after a restart the node shows another certificate")
	}
	options.Keys = again
	s = certs.Open(options)
	defer s.Close()
	must(t, s.Manage(t.Context(), o.authority.Division.DNSName("files")))
	if o.count() != 1 {
		t.Error("a restart obtains another certificate")
	}
}

func TestFilesThatCannotBeUsedAreReplaced(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, o *office, folder string){
		"torn": func(t *testing.T, o *office, folder string) { // The key was written, then the power went.
			other, _, options := open(t, o.node, 0)
			s := certs.Open(options)
			defer s.Close()
			must(t, s.Manage(t.Context(), other.authority.Division.DNSName(o.node)))
			copyFile(t, glob(t, options.Data, "*.key"), glob(t, folder, "*.key"))
		},
		"of another authority": func(t *testing.T, o *office, folder string) {
			other, _, options := open(t, o.node, 0)
			s := certs.Open(options)
			defer s.Close()
			must(t, s.Manage(t.Context(), other.authority.Division.DNSName(o.node)))
			for _, kind := range []string{"*.key", "*.crt", "*.json"} {
				copyFile(t, glob(t, options.Data, kind), glob(t, folder, kind))
			}
		},
		"damaged": func(t *testing.T, _ *office, folder string) {
			must(t, os.WriteFile(glob(t, folder, "*.crt"), []byte("x"), 0o600))
		},
		"empty":     func(t *testing.T, _ *office, folder string) { must(t, os.Truncate(glob(t, folder, "*.key"), 0)) },
		"half gone": func(t *testing.T, _ *office, folder string) { must(t, os.Remove(glob(t, folder, "*.crt"))) },
		"no note":   func(t *testing.T, _ *office, folder string) { must(t, os.Remove(glob(t, folder, "*.json"))) },
	} {
		t.Run(name, func(t *testing.T) {
			o, k, options := open(t, "spoilt", 0)
			dns := o.authority.Division.DNSName("spoilt")
			s := certs.Open(options)
			must(t, s.Manage(t.Context(), dns))
			s.Close()
			spoil(t, o, options.Data)
			k = &trust.Keys{Division: k.Division, Node: k.Node, Key: k.Key, Certificate: k.Certificate, Authority: k.Authority}
			certs.Restore(options.Data, k)
			must(t, k.Check(time.Now()))
			options.Keys = k
			s = certs.Open(options)
			defer s.Close()
			must(t, s.Manage(t.Context(), dns))
			if k.TLS().Leaf.Equal(k.Certificate) || o.count() != 2 {
				t.Errorf("%d certificates were issued, and the node shows the one of %s", o.count(), k.TLS().Leaf.NotBefore)
			}
			must(t, k.Check(time.Now()))
		})
	}
}

func TestANewNameGetsACertificateAndTheOldIsForgotten(t *testing.T) {
	o, k, options := open(t, "moved", 0)
	s := certs.Open(options)
	defer s.Close()
	must(t, s.Manage(t.Context(), o.authority.Division.DNSName("moved")))
	nation, err := trust.NewAuthority(trust.Division{Code: "000000", Level: "national"}, time.Now())
	must(t, err)
	csr, err := o.authority.Request()
	must(t, err)
	ca, err := nation.SignChild(csr, nation.Division.Child("511602", "county"), time.Now())
	must(t, err)
	name := "moved.511602.000000." + trust.Domain
	if err := s.Manage(t.Context(), name); err == nil {
		t.Error("a name is certified that the division does not have")
	}
	o.mu.Lock()
	o.authority, err = o.authority.As(append(parse(t, ca.Raw), nation.Certificate))
	o.mu.Unlock()
	must(t, err)
	must(t, s.Manage(t.Context(), name))
	if got := k.TLS().Leaf.DNSNames[0]; got != name {
		t.Errorf("the node shows %s", got)
	}
	folders, err := filepath.Glob(filepath.Join(options.Data, "tls/managed/certificates/*/*"))
	if err != nil || len(folders) != 1 {
		t.Errorf("there are %v, %v", folders, err)
	}
}

// A node that stops does not wait for a leader.
func TestCloseEndsAQuestionToTheLeader(t *testing.T) {
	_, k, options := open(t, "closing", 0)
	asked := make(chan struct{})
	options.Certify = func(ctx context.Context, _ []byte) ([]byte, error) {
		close(asked)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	s := certs.Open(options)
	done := make(chan error, 1)
	go func() { done <- s.Manage(t.Context(), k.Division.DNSName("closing")) }()
	<-asked
	s.Close()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Manage ends with %v", err)
	}
	if err := s.Manage(t.Context(), k.Division.DNSName("closing")); err == nil {
		t.Error("after Close a certificate is obtained")
	}
}
