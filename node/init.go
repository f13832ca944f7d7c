package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tongban/division"
	"tongban/node/config"
	"tongban/node/exit"
	"tongban/node/join"
	"tongban/node/members"
	"tongban/node/trust"
	"tongban/replication"
	"tongban/service/identity"
)

// Files below the data folder.
const (
	fileBook   = "peers.json"
	fileMark   = "node.json"
	fileGossip = "gossip.snapshot"
)

// Addresses are where a new node listens. A zero field takes config's default.
type Addresses struct {
	Web             string // host:port
	WebURL          string
	WebTLS          string // self, files, off; empty: off on a loopback address, else self.
	Peer            string // host:port
	PeerAdvertise   string
	Gossip          string // host:port
	GossipAdvertise string
	Link            string // host:port
	LinkAdvertise   string
	Databases       string // host:port; empty: no port for programs.
}

// InitOptions are what a division starts with.
type InitOptions struct {
	Dir      string             // Folder to make; must be empty or absent.
	Division string             // Code, 6 digits.
	Level    string             // Needed where the code has two; empty otherwise.
	Node     replication.NodeID // n1.
	Addresses
	Now func() time.Time // time.Now.
}

// InitResult is what init shows to the operator, once.
type InitResult struct {
	Config    config.Config
	Division  division.Division
	FirstBoot string // Code for the first administrator; only its hash is kept.
	Recovery  string // age identity of the recovery kit; kept nowhere.
}

// Init makes the first node of a division: its folder, keys, authority and configuration.
// On an error nothing is left behind.
func Init(o InitOptions) (*InitResult, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	d, err := chooseDivision(o.Division, o.Level)
	if err != nil {
		return nil, err
	}
	cfg, err := newConfig(o.Dir, o.Node, d.Ref, o.Addresses)
	if err != nil {
		return nil, err
	}
	if err := freePorts(&cfg); err != nil {
		return nil, err
	}
	created, err := claimFolder(cfg.Dir())
	if err != nil {
		return nil, err
	}
	result, err := found(cfg, d, o.Now())
	if err != nil {
		abandonFolder(cfg.Dir(), created)
		return nil, err
	}
	return result, nil
}

func found(cfg config.Config, d division.Division, now time.Time) (*InitResult, error) {
	keys, err := newKeys(cfg)
	if err != nil {
		return nil, err
	}
	recovery, err := trust.NewIdentity()
	if err != nil {
		return nil, err
	}
	authority, err := trust.NewAuthority(keys.Division, now)
	if err != nil {
		return nil, err
	}
	if keys.Certificate, err = authority.Issue(cfg.Node, keys.Key.Public(), now); err != nil {
		return nil, err
	}
	if keys.Gossip, err = trust.NewGossipKey(); err != nil {
		return nil, err
	}
	secret, err := authority.KeyPEM()
	if err != nil {
		return nil, err
	}
	keys.Authority, keys.Recovery = authority.Certificate, recovery.Recipient().String()
	if keys.Sealed, err = trust.Seal(secret, keys.Identity.Recipient().String(), keys.Recovery); err != nil {
		return nil, err
	}
	code, hash := identity.NewCode()
	if err := settle(cfg, keys, mark{Founder: true, FirstBoot: hash}, nil, nil); err != nil {
		return nil, err
	}
	return &InitResult{Config: cfg, Division: d, FirstBoot: code, Recovery: recovery.String()}, nil
}

func newKeys(cfg config.Config) (*trust.Keys, error) {
	id, err := trust.NewIdentity()
	if err != nil {
		return nil, err
	}
	key, err := trust.NewKey()
	if err != nil {
		return nil, err
	}
	return &trust.Keys{Division: divisionOf(cfg), Node: cfg.Node, Identity: id, Key: key}, nil
}

func divisionOf(cfg config.Config) trust.Division {
	return trust.Division{Code: cfg.Division.Code, Level: cfg.Division.Level}
}

// settle writes what makes a folder a node; the configuration comes last, because only a
// folder that has one is a node.
func settle(cfg config.Config, keys *trust.Keys, m mark, peers []join.Peer, gossip []string) error {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	if err := keys.Save(cfg.Data); err != nil {
		return err
	}
	m.Node, m.Division, m.Level, m.Cluster = cfg.Node, cfg.Division.Code, cfg.Division.Level, clusterOf(keys)
	if err := m.write(cfg.Data); err != nil {
		return err
	}
	book, err := members.OpenBook(filepath.Join(cfg.Data, fileBook))
	if err != nil {
		return err
	}
	if err := errors.Join(book.Set(peers), book.SetGossip(gossip)); err != nil {
		return err
	}
	return config.Write(cfg)
}

// clusterOf names the division's gossip pool: short, and different for each authority.
func clusterOf(keys *trust.Keys) string { return trust.Fingerprint(keys.Authority)[:16] }

// chooseDivision finds the division that boxes can be installed for.
func chooseDivision(code, level string) (division.Division, error) {
	candidates, err := division.Lookup(code)
	if errors.Is(err, division.ErrUnknown) {
		return division.Division{}, exit.Usagef("%w; did you mean %s?", err, nearDivisions(code))
	}
	if err != nil {
		return division.Division{}, exit.Usagef("%w", err)
	}
	if level != "" {
		l, err := division.ParseLevel(level)
		if err != nil {
			return division.Division{}, exit.Usagef("%w", err)
		}
		d, ok := division.ByRef(division.Ref{Level: l, Code: candidates[0].Code})
		if !ok {
			return d, exit.Usagef("%s is no %s; it is %s", code, l, describe(candidates))
		}
		candidates = []division.Division{d}
	}
	if len(candidates) > 1 {
		return division.Division{}, exit.Usagef("%s is %s; say which one with --level", code, describe(candidates))
	}
	d := candidates[0]
	switch {
	case d.Virtual:
		return d, exit.Usagef("%s %s only groups others in the code list and has no government of its own; choose one of those below it", d.Code, d.FullName())
	case d.Status == division.Former:
		belongs := "belongs"
		if d.Inferred {
			belongs = "by its name probably belongs"
		}
		return d, exit.Usagef("%s %s no longer exists; its ground now %s to %s", d.Code, d.FullName(), belongs, describeRefs(d.Successors))
	case d.Level == division.Township:
		return d, exit.Usagef("%s %s is a township, an outlet of its county; install for county %s", d.Code, d.FullName(), d.Parent.Code)
	}
	return d, nil
}

func describe(list []division.Division) string {
	var parts []string
	for _, d := range list {
		parts = append(parts, fmt.Sprintf("a %s (%s)", d.Level, d.FullName()))
	}
	return strings.Join(parts, " and ")
}

func describeRefs(list []division.Ref) string {
	var parts []string
	for _, r := range list {
		parts = append(parts, string(r.Code)+" "+division.FullName(r))
	}
	if len(parts) == 0 {
		return "others"
	}
	return strings.Join(parts, ", ")
}

// nearDivisions returns up to three divisions whose code differs least from code.
func nearDivisions(code string) string {
	if len(code) < 6 {
		return "a code of 6 digits"
	}
	code = code[:6]
	type near struct {
		d    division.Division
		same int
	}
	var best []near
	for d := range division.All() {
		if d.Virtual || d.Level == division.Township {
			continue
		}
		same := 0
		for i := range code {
			if d.Code[i] == code[i] {
				same++
			}
		}
		at := len(best)
		for at > 0 && best[at-1].same < same {
			at--
		}
		if at < 3 {
			best = append(best[:at], append([]near{{d, same}}, best[at:]...)...)
			best = best[:min(3, len(best))]
		}
	}
	var parts []string
	for _, b := range best {
		parts = append(parts, string(b.d.Code)+" "+b.d.FullName())
	}
	return strings.Join(parts, ", ")
}

// newConfig makes and checks the configuration of a new node.
func newConfig(dir string, n replication.NodeID, ref division.Ref, a Addresses) (config.Config, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return config.Config{}, exit.Usagef("find the folder %s: %w", dir, err)
	}
	c := config.Default(filepath.Join(dir, config.FileName))
	c.Node, c.Division = n, config.Division{Code: string(ref.Code), Level: ref.Level.String()}
	for _, f := range []struct {
		to   *string
		from string
	}{
		{&c.Web.Listen, a.Web}, {&c.Web.URL, a.WebURL}, {&c.Web.TLS, a.WebTLS},
		{&c.Peer.Listen, a.Peer}, {&c.Peer.Advertise, a.PeerAdvertise},
		{&c.Gossip.Listen, a.Gossip}, {&c.Gossip.Advertise, a.GossipAdvertise},
		{&c.Link.Listen, a.Link}, {&c.Link.Advertise, a.LinkAdvertise},
		{&c.Databases.Listen, a.Databases},
	} {
		if f.from != "" {
			*f.to = f.from
		}
	}
	if a.WebTLS == "" && config.Loopback(c.Web.Listen) {
		c.Web.TLS = "off"
	}
	return c, c.Check()
}

// claimFolder makes the folder; created is false when it was there, empty.
func claimFolder(dir string) (created bool, err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return false, exit.Usagef("make the folder %s: %w", dir, err)
	}
	err = os.Mkdir(dir, 0o700)
	if err == nil {
		return true, nil
	}
	entries, readErr := os.ReadDir(dir)
	switch {
	case readErr != nil:
		return false, exit.Usagef("use the folder %s: %w", dir, err)
	case len(entries) > 0:
		return false, exit.Usagef("the folder %s is not empty; choose another with --dir", dir)
	}
	return false, nil
}

// abandonFolder removes what a failed init left in a folder that was empty.
func abandonFolder(dir string, created bool) {
	_ = os.RemoveAll(filepath.Join(dir, "data"))
	_ = os.Remove(filepath.Join(dir, config.FileName))
	if created {
		_ = os.Remove(dir)
	}
}
