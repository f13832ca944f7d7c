// Package certs obtains and renews the node's certificate with certmagic: it is asked for
// at the division's leader, kept in files below the data folder, and renewed when half of
// its time is over. There is no account, no ACME and no traffic but the question to the
// leader.
//
// The files are there before any database is open: [Restore] puts the newest certificate
// into use, also for programs that only look at the folder.
package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	"tongban/node/trust"
)

const (
	// folder is where certmagic keeps its files, below the data folder.
	folder = "tls/managed"
	// issuerKey is part of the files' names: it never changes.
	issuerKey = "division"
	// renewalWindow is the part of a certificate's time, at its end, in which it is renewed:
	// a box that is off for less than that is not locked out.
	renewalWindow = 0.5
	// overdue is the part at whose beginning a renewal is not left to certmagic any more,
	// which after failures waits for up to six hours.
	overdue = 0.25
)

// Options are the parts of a Store. A zero field takes the default stated beside it.
type Options struct {
	Data string      // Required. The node's data folder.
	Keys *trust.Keys // Required. Uses what is issued.
	// Certify has the division's leader issue a certificate for the request, both DER. Required.
	Certify func(ctx context.Context, csr []byte) ([]byte, error)
	Now     func() time.Time // time.Now. certmagic itself knows the box's clock alone.
	Check   time.Duration    // 10 min: how often is looked whether to renew.
	Log     *slog.Logger     // slog.Default().
}

// Store holds the node's certificates. Its methods may be called concurrently.
type Store struct {
	o       Options
	files   *files
	cache   *certmagic.Cache
	config  *certmagic.Config
	ctx     context.Context // Ends with Close.
	cancel  context.CancelFunc
	manages sync.Mutex
}

// Open starts the renewal of certificates that Manage names.
func Open(o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Check == 0 {
		o.Check = certmagic.DefaultRenewCheckInterval
	}
	s := &Store{o: o, files: newFiles(o.Data)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	logger := logTo(o.Log)
	s.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return s.config, nil },
		RenewCheckInterval: o.Check, Logger: logger,
	})
	s.config = certmagic.New(s.cache, certmagic.Config{
		Issuers: []certmagic.Issuer{issuer{s}}, Storage: s.files,
		KeySource:          certmagic.StandardKeyGenerator{KeyType: certmagic.P256},
		RenewalWindowRatio: renewalWindow, DisableARI: true, DisableStorageCheck: true,
		OCSP: certmagic.OCSPConfig{DisableStapling: true}, OnEvent: s.note, Logger: logger,
	})
	return s
}

// Close ends the renewals and waits for one that is under way.
func (s *Store) Close() {
	s.cancel()
	s.cache.Stop()
	s.files.close()
}

// Check is how often Manage is to be called.
func (s *Store) Check() time.Duration { return s.o.Check }

// Manage makes sure that a certificate of the name is in use and will be renewed, and
// forgets those of other names. It is called again and again: it costs nothing when all is
// well. After an error it is to be called again.
func (s *Store) Manage(ctx context.Context, name string) error {
	s.manages.Lock()
	defer s.manages.Unlock()
	if len(s.cache.AllMatchingCertificates(name)) == 0 {
		s.dropUnusable(ctx, name)
	}
	if err := s.config.ManageSync(ctx, []string{name}); err != nil {
		return fmt.Errorf("obtain the certificate of %s: %w", name, err)
	}
	pair, err := s.files.load(name)
	if err == nil && isOverdue(pair.Leaf, s.o.Now()) {
		if err = s.renew(ctx, name); err == nil {
			pair, err = s.files.load(name)
		}
	}
	if err != nil {
		return err
	}
	if current := s.o.Keys.TLS(); !current.Leaf.Equal(pair.Leaf) {
		if err := s.o.Keys.Use(*pair, s.o.Now()); err != nil {
			return fmt.Errorf("use the certificate of %s: %w", name, err)
		}
	}
	s.forgetBut(ctx, name)
	return nil
}

// renew does what certmagic should have done long ago.
func (s *Store) renew(ctx context.Context, name string) error {
	if err := s.config.RenewCertSync(ctx, name, true); err != nil { // By force: it may think that there is time.
		return fmt.Errorf("renew the certificate of %s: %w", name, err)
	}
	_, err := s.config.CacheManagedCertificate(ctx, name)
	return err
}

// isOverdue goes by the node's clock, by which its peers judge the certificate; certmagic
// knows the box's alone.
func isOverdue(c *x509.Certificate, now time.Time) bool {
	last := time.Duration(float64(c.NotAfter.Sub(c.NotBefore)) * overdue)
	return c.NotAfter.Sub(now) < last
}

// dropUnusable removes files with which certmagic would never get on: key and certificate
// are written one after the other, and a power cut between them leaves two that do not
// belong together; and those of another authority, which came with a restored folder.
func (s *Store) dropUnusable(ctx context.Context, name string) {
	pair, err := s.files.load(name)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		at := s.o.Now()
		if at.After(pair.Leaf.NotAfter) { // Its time is over: it is shown until there is another one.
			at = pair.Leaf.NotAfter
		}
		err = s.o.Keys.Use(*pair, at)
	}
	if err != nil {
		s.o.Log.Warn("drop a certificate that cannot be used; another one is obtained", "name", name, "err", err)
		s.drop(ctx, name)
	}
}

func (s *Store) drop(ctx context.Context, name string) {
	s.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: name}})
	if err := s.files.Delete(ctx, certmagic.StorageKeys.CertsSitePrefix(issuerKey, name)); err != nil {
		s.o.Log.Warn("delete a certificate", "name", name, "err", err)
	}
}

// forgetBut drops the names that the node had before.
func (s *Store) forgetBut(ctx context.Context, name string) {
	for _, other := range s.files.names() {
		if other != name {
			s.drop(ctx, other)
		}
	}
}

// note is certmagic's event handler: what was obtained is used at once.
func (s *Store) note(_ context.Context, event string, data map[string]any) error {
	name, _ := data["identifier"].(string)
	switch event {
	case "cert_failed":
		s.o.Log.Warn("obtain a certificate, will try again", "name", name, "err", data["error"])
	case "cert_obtained":
		pair, err := s.files.load(name)
		if err == nil {
			err = s.o.Keys.Use(*pair, s.o.Now())
		}
		if err != nil {
			s.o.Log.Error("use a new certificate", "name", name, "err", err)
			return nil
		}
		s.o.Log.Info("the node has a new certificate", "name", name, "until", pair.Leaf.NotAfter)
	}
	return nil
}

// Restore puts the newest certificate in the data folder into use, also if its time is over;
// without any the node shows the one that it came with. It only reads.
func Restore(data string, keys *trust.Keys) {
	f := newFiles(data)
	var newest *tls.Certificate
	for _, name := range f.names() {
		if pair, err := f.load(name); err == nil && (newest == nil || pair.Leaf.NotBefore.After(newest.Leaf.NotBefore)) {
			newest = pair
		}
	}
	if newest != nil {
		_ = keys.Use(*newest, newest.Leaf.NotBefore) // Of another authority: the one that the box came with is tried.
	}
}

// issuer is certmagic's way to the division's leader.
type issuer struct{ s *Store }

// IssuerKey implements certmagic.Issuer.
func (issuer) IssuerKey() string { return issuerKey }

// Issue implements certmagic.Issuer. What it returns is the certificate and the hand-over
// from the present one.
func (i issuer) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(i.s.ctx, cancel)()
	leaf, err := i.s.o.Certify(ctx, csr.Raw)
	if err != nil {
		return nil, err
	}
	behind, err := i.s.o.Keys.HandOver(csr.PublicKey, i.s.o.Now())
	if err != nil {
		return nil, err
	}
	var bundle []byte
	for _, der := range append([][]byte{leaf}, behind...) {
		bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return &certmagic.IssuedCertificate{Certificate: bundle}, nil
}

// files is certmagic's storage. Its lock is one of the process: a data folder has one node,
// and a lock in a file would outlive a crash.
type files struct {
	*certmagic.FileStorage
	turn chan struct{} // Holds one; taken between Lock and Unlock.
	done chan struct{}
}

func newFiles(data string) *files {
	f := &files{FileStorage: &certmagic.FileStorage{Path: filepath.Join(data, filepath.FromSlash(folder))},
		turn: make(chan struct{}, 1), done: make(chan struct{})}
	f.turn <- struct{}{}
	return f
}

// Lock implements certmagic.Storage.
func (f *files) Lock(ctx context.Context, _ string) error {
	select {
	case <-f.done:
		return context.Canceled
	default:
	}
	select {
	case <-f.turn:
		return nil
	case <-f.done:
		return context.Canceled
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Unlock implements certmagic.Storage.
func (f *files) Unlock(context.Context, string) error {
	f.turn <- struct{}{}
	return nil
}

// close waits for what is under way; nothing begins after it.
func (f *files) close() {
	close(f.done)
	<-f.turn
}

// names are those of which there is a folder.
func (f *files) names() []string {
	keys, err := f.List(context.Background(), certmagic.StorageKeys.CertsPrefix(issuerKey), false)
	if err != nil {
		return nil
	}
	for i, key := range keys {
		keys[i] = path.Base(key)
	}
	return keys
}

func (f *files) load(name string) (*tls.Certificate, error) {
	ctx := context.Background()
	certificate, err := f.Load(ctx, certmagic.StorageKeys.SiteCert(issuerKey, name))
	if err != nil {
		return nil, err
	}
	key, err := f.Load(ctx, certmagic.StorageKeys.SitePrivateKey(issuerKey, name))
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	return &pair, err
}
