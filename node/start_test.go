package node_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tongban/node"
	"tongban/node/config"
	"tongban/node/exit"
	"tongban/node/nodetest"
)

func made(t *testing.T) config.Config {
	t.Helper()
	r, err := node.Init(node.InitOptions{Division: "511602", Dir: filepath.Join(t.TempDir(), "n1"), Node: "n1",
		Addresses: node.Addresses{Web: "127.0.0.1:0", Peer: "127.0.0.1:0", Gossip: "127.0.0.1:0", Link: "127.0.0.1:0"}})
	must(t, err)
	return r.Config
}

func TestWhatKeepsANodeFromStartingIsSaidInASentence(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, cfg *config.Config)
		now   func() time.Time
		code  int
		want  []string
	}{
		"people's port in use": {spoil: func(t *testing.T, cfg *config.Config) { occupy(t, cfg.Web.Listen) },
			code: exit.Failed, want: []string{"web.listen", "in use"}},
		"node port in use": {spoil: func(t *testing.T, cfg *config.Config) { occupy(t, cfg.Peer.Listen) },
			code: exit.Failed, want: []string{"peer.listen", "in use"}},
		"gossip port in use": {spoil: func(t *testing.T, cfg *config.Config) { occupy(t, cfg.Gossip.Listen) },
			code: exit.Failed, want: []string{"gossip.listen", "in use"}},
		"port of the lines in use": {spoil: func(t *testing.T, cfg *config.Config) { occupy(t, cfg.Link.Listen) },
			code: exit.Failed, want: []string{"link.listen", "in use"}},
		"foreign address": {spoil: func(_ *testing.T, cfg *config.Config) { cfg.Peer.Listen = "203.0.113.9:7301" },
			code: exit.Config, want: []string{"peer.listen", "does not have that address"}},
		"another node's configuration": {spoil: func(_ *testing.T, cfg *config.Config) { cfg.Node = "n2" },
			code: exit.Config, want: []string{"n1", "n2"}},
		"another division's configuration": {spoil: func(_ *testing.T, cfg *config.Config) { cfg.Division.Code = "511603" },
			code: exit.Config, want: []string{"511602", "511603"}},
		"no data folder": {spoil: func(t *testing.T, cfg *config.Config) { must(t, os.RemoveAll(cfg.Data)) },
			code: exit.Config, want: []string{"not the data folder"}},
		"open key": {spoil: func(t *testing.T, cfg *config.Config) { must(t, os.Chmod(filepath.Join(cfg.Data, "node.key"), 0o644)) },
			code: exit.Config, want: []string{"chmod 600"}},
		"clock before the certificate": {now: func() time.Time { return time.Now().AddDate(-1, 0, 0) },
			code: exit.Failed, want: []string{"set the clock"}},
		"clock after the certificate": {now: func() time.Time { return time.Now().AddDate(2, 0, 0) },
			code: exit.Failed, want: []string{"certificate", "ended"}},
		"no certificate for people": {spoil: func(_ *testing.T, cfg *config.Config) {
			cfg.Web.TLS, cfg.Web.Certificate, cfg.Web.Key = "files", "/none.pem", "/none.key"
		}, code: exit.Config, want: []string{"web.certificate"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := made(t)
			if c.spoil != nil {
				c.spoil(t, &cfg)
			}
			n, err := node.New(cfg, node.Options{Now: c.now, Fast: true})
			if err == nil {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				err = n.Run(ctx)
			}
			if err == nil {
				t.Fatal("the node ran")
			}
			if exit.Code(err) != c.code {
				t.Errorf("exit code %d, want %d: %v", exit.Code(err), c.code, err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

func occupy(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
}

func TestANodeDoesNotStartTwiceNorBeforeItsNewestEntry(t *testing.T) {
	c := nodetest.Division(t, 1)
	n, err := node.New(c.Config(0), node.Options{Fast: true})
	if err == nil {
		err = n.Run(t.Context())
	}
	if err == nil || !strings.Contains(err.Error(), "running already") {
		t.Errorf("a second process on the folder: %v", err)
	}
	c.Stop(0)
	late := func() time.Time { return time.Now().Add(-5 * time.Minute) }
	if _, err := node.New(c.Config(0), node.Options{Now: late}); err == nil || !strings.Contains(err.Error(), "newest entry") {
		t.Errorf("a clock five minutes late: %v", err)
	}
}
