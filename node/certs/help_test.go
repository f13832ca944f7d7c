package certs_test

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tongban/node/trust"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never came: %s", what)
		}
	}
}

func glob(t *testing.T, data, kind string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(data, "tls/managed/certificates/*/*", kind))
	if err != nil || len(list) != 1 {
		t.Fatalf("%s: %v, %v", kind, list, err)
	}
	return list[0]
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, text, 0o600))
}

func parse(t *testing.T, der []byte) []*x509.Certificate {
	t.Helper()
	chain, err := trust.ParseChain([][]byte{der})
	must(t, err)
	return chain
}
