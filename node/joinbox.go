package node

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"tongban/division"
	"tongban/node/config"
	"tongban/node/exit"
	"tongban/node/join"
	"tongban/node/trust"
	"tongban/replication"
)

// JoinOptions are what a box needs to join a division.
type JoinOptions struct {
	Token string
	Dir   string             // Folder to make; empty, absent, or left by a join that died.
	Node  replication.NodeID // Empty: the division gives the next free name, n2 and so on.
	Addresses
	Now func() time.Time // time.Now.
}

// fileJoining keeps the keys of a box while it asks to join: a join that died after the
// division had listed the box is repeated with the same keys, and so is the same box.
const fileJoining = "joining"

// Join makes the folder of a further node of a division: it asks the token's nodes, and
// writes what they answer. It may be repeated, with a new token, after any failure.
func Join(ctx context.Context, o JoinOptions) (config.Config, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	token, err := join.ParseToken(o.Token)
	if err != nil {
		return config.Config{}, exit.Usagef("%w", err)
	}
	// Division and perhaps name are not known yet; for the check they only have to be well formed.
	cfg, err := newConfig(o.Dir, cmp.Or(o.Node, "unnamed"), division.Nation, o.Addresses)
	if err != nil {
		return cfg, err
	}
	if err := freePorts(&cfg); err != nil {
		return cfg, err
	}
	keys, err := joiningKeys(cfg)
	if err != nil {
		return cfg, err
	}
	csr, err := trust.NewRequest(keys.Key)
	if err != nil {
		return cfg, err
	}
	answer, err := join.Ask(ctx, token, join.Request{CSR: csr, Gossip: advertised(cfg.Gossip), Node: join.Peer{
		ID: o.Node, Address: advertised(cfg.Peer), Web: webURL(cfg), Recipient: keys.Identity.Recipient().String(),
	}}, o.Now)
	if err != nil {
		return cfg, err
	}
	if o.Node != "" && answer.Node != o.Node {
		return cfg, fmt.Errorf("the division named the box %s, not %s", answer.Node, o.Node)
	}
	if err := accept(&cfg, keys, token, answer, o.Now()); err != nil {
		return cfg, fmt.Errorf("the division's answer cannot be used: %w", err)
	}
	if err := settle(cfg, keys, mark{}, answer.Peers, answer.Gossip); err != nil {
		return cfg, err
	}
	return cfg, os.RemoveAll(filepath.Join(cfg.Dir(), fileJoining))
}

// joiningKeys returns the keys that the box asks with: new ones in a new folder, the same
// ones in a folder in which a join died.
func joiningKeys(cfg config.Config) (*trust.Keys, error) {
	dir := filepath.Join(cfg.Dir(), fileJoining)
	keys, err := trust.LoadPrivate(dir)
	switch {
	case err == nil:
		if _, err := os.Stat(cfg.File); err == nil {
			return nil, exit.Usagef("the folder %s is a node already; start it with `tongban run --config %s`", cfg.Dir(), cfg.File)
		}
		return keys, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	created, err := claimFolder(cfg.Dir())
	if err != nil {
		return nil, err
	}
	if keys, err = newKeys(cfg); err == nil {
		err = keys.SavePrivate(dir)
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		abandonFolder(cfg.Dir(), created)
		return nil, err
	}
	return keys, nil
}

// accept checks the answer against the token and the box's own keys, and completes
// configuration and keys with it.
func accept(cfg *config.Config, keys *trust.Keys, token join.Token, a join.Answer, now time.Time) error {
	cfg.Node, cfg.Division = a.Node, config.Division{Code: a.Code, Level: a.Level}
	if err := cfg.Check(); err != nil {
		return err
	}
	var err error
	if keys.Authority, err = x509.ParseCertificate(a.Authority); err != nil {
		return fmt.Errorf("read the authority's certificate: %w", err)
	}
	if trust.Fingerprint(keys.Authority) != token.Fingerprint {
		return join.ErrOtherAuthority
	}
	if keys.Certificate, err = x509.ParseCertificate(a.Certificate); err != nil {
		return fmt.Errorf("read the certificate: %w", err)
	}
	keys.Division, keys.Node = divisionOf(*cfg), cfg.Node
	keys.Sealed, keys.Recovery, keys.Gossip = a.Sealed, a.Recovery, a.GossipKey
	if _, err := trust.ParseRecipient(a.Recovery); err != nil {
		return fmt.Errorf("read the recovery kit's recipient: %w", err)
	}
	if len(keys.Gossip) != trust.GossipKeySize {
		return errors.New("the gossip key has a wrong length")
	}
	if _, err := keys.OpenAuthority(keys.Sealed); err != nil {
		return err
	}
	return keys.Check(now)
}

// Ports that freePorts takes: below those that Linux gives to outgoing connections (32768
// on), one of which would else have the port before the node binds it.
const (
	lowFreePort  = 20000
	highFreePort = 32000
	portTries    = 100
)

// freePorts replaces port 0 by a free port: a node has to come back on the address that
// the others know. Only tests and demonstrations ask for it.
func freePorts(cfg *config.Config) error {
	taken := map[string]bool{} // Chosen here, and not bound yet.
	for _, address := range []*string{&cfg.Web.Listen, &cfg.Peer.Listen, &cfg.Gossip.Listen, &cfg.Link.Listen, &cfg.Databases.Listen} {
		host, port, err := net.SplitHostPort(*address)
		if err != nil || port != "0" {
			continue
		}
		if *address, err = freeAddress(host, taken); err != nil {
			return exit.Configf("find a free port on %s: %w", host, err)
		}
	}
	return nil
}

// freeAddress returns an address that nobody has, with a port that is not taken, and takes
// it.
func freeAddress(host string, taken map[string]bool) (address string, err error) {
	for range portTries {
		port := strconv.Itoa(lowFreePort + rand.IntN(highFreePort-lowFreePort))
		if taken[port] {
			continue
		}
		address = net.JoinHostPort(host, port)
		tcp, e := net.Listen("tcp", address)
		if e != nil {
			err = e
			continue
		}
		udp, e := net.ListenPacket("udp", address)
		if e == nil {
			taken[port] = true
			return address, errors.Join(udp.Close(), tcp.Close())
		}
		err = errors.Join(e, tcp.Close())
	}
	return "", cmp.Or(err, errors.New("all ports that were tried are taken"))
}

func advertised(e config.Endpoint) string {
	if e.Advertise != "" {
		return e.Advertise
	}
	return e.Listen
}

// webURL is what people type to get to the node.
func webURL(cfg config.Config) string {
	if cfg.Web.URL != "" {
		return cfg.Web.URL
	}
	scheme := "https"
	if cfg.Web.TLS == "off" {
		scheme = "http"
	}
	host, port, err := net.SplitHostPort(cfg.Web.Listen)
	if err != nil {
		return scheme + "://" + cfg.Web.Listen
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		host = "localhost" // What a browser treats as a secure context.
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
