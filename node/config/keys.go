package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"tongban/node/exit"
)

// Key describes one key of the file.
type Key struct {
	Name    string // "web.listen"
	Default string // Empty: see Doc.
	Bound   string // What a value must be, in words.
	Doc     string
	check   func(value string) error
	path    bool // A file name, relative to the configuration file's folder.
	needed  bool // May not be empty.
}

// Env is the environment variable that overrides the key.
func (k Key) Env() string { return "TONGBAN_" + strings.ToUpper(strings.ReplaceAll(k.Name, ".", "_")) }

var (
	nodePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$`)
	codePattern = regexp.MustCompile(`^[0-9]{6}$`)
)

// Keys are all keys, in the order of the file.
func Keys() []Key {
	address := "host:port; the host an IP address or a name, the port 0–65535 (0: any free one, for tests)"
	return []Key{
		{Name: "node", Bound: "a–z, 0–9 and -, 1–20 characters", needed: true, check: pattern(nodePattern),
			Doc: "Name of this node, unique in the division."},
		{Name: "data", Default: "data", Bound: "a folder", path: true, needed: true,
			Doc: "Keys, log and databases."},
		{Name: "division.code", Bound: "6 digits", needed: true, check: pattern(codePattern),
			Doc: "Code of the division."},
		{Name: "division.level", Bound: "national, province, city or county", needed: true,
			check: oneOf("national", "province", "city", "county"), Doc: "Level of the division."},
		{Name: "web.listen", Default: "127.0.0.1:8080", Bound: address, needed: true, check: checkAddress,
			Doc: "Port for people."},
		{Name: "web.url", Bound: "http:// or https:// and a host, no path", check: checkURL,
			Doc: "What people type to get here. Empty: made of web.listen."},
		{Name: "web.tls", Default: "self", Bound: "self, files, or off on a loopback address", needed: true,
			check: oneOf("self", "files", "off"),
			Doc:   "self: a self-signed certificate that the node makes; files: web.certificate and web.key; off: plain http."},
		{Name: "web.certificate", Bound: "a PEM file", path: true, Doc: "Certificate chain, when web.tls is files."},
		{Name: "web.key", Bound: "a PEM file", path: true, Doc: "Private key, when web.tls is files."},
		{Name: "peer.listen", Default: "127.0.0.1:7301", Bound: address, needed: true, check: checkAddress,
			Doc: "Node port, for the other nodes of the division."},
		{Name: "peer.advertise", Bound: address, check: checkAddress,
			Doc: "Address at which other nodes reach the node port. Empty: peer.listen."},
		{Name: "gossip.listen", Default: "127.0.0.1:7302", Bound: address, needed: true, check: checkAddress,
			Doc: "Gossip port (TCP and UDP)."},
		{Name: "gossip.advertise", Bound: address, check: checkAddress,
			Doc: "Address at which other nodes reach the gossip port. Empty: gossip.listen."},
		{Name: "link.listen", Default: "127.0.0.1:7303", Bound: address, needed: true, check: checkAddress,
			Doc: "Port for the lines of child divisions."},
		{Name: "link.advertise", Bound: address, check: checkAddress,
			Doc: "Address at which child divisions reach it. Empty: link.listen."},
		{Name: "databases.listen", Bound: address, check: checkAddress,
			Doc: "Port for programs that use application databases. Empty: none. Plain http on a loopback address, else https with the certificate of web.tls."},
		{Name: "databases.advertise", Bound: address, check: checkAddress,
			Doc: "Address at which programs reach it. Empty: databases.listen."},
		{Name: "admin.socket", Bound: "a file name", path: true,
			Doc: "Unix socket for the commands of this box. Empty: admin.sock in the data folder."},
		{Name: "log.level", Default: "info", Bound: "debug, info, warn or error", needed: true,
			check: oneOf("debug", "info", "warn", "error"), Doc: "The least that is logged."},
		{Name: "log.format", Default: "text", Bound: "text or json", needed: true, check: oneOf("text", "json"),
			Doc: "Form of the log on standard error."},
	}
}

// ValidNode reports whether name can be a node's.
func ValidNode(name string) bool { return nodePattern.MatchString(name) }

func pattern(re *regexp.Regexp) func(string) error {
	return func(v string) error {
		if !re.MatchString(v) {
			return fmt.Errorf("malformed")
		}
		return nil
	}
}

func oneOf(words ...string) func(string) error {
	return func(v string) error {
		if !slices.Contains(words, v) {
			return fmt.Errorf("not one of these")
		}
		return nil
	}
}

func checkAddress(v string) error {
	host, port, err := net.SplitHostPort(v)
	if err != nil || host == "" {
		return fmt.Errorf("no host:port")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("the port is no number from 0 to 65535")
	}
	return nil
}

func checkURL(v string) error {
	u, err := url.Parse(v)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("no http:// or https:// address")
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("it has more than a host and port")
	}
	return nil
}

// Check checks every value and what concerns more than one key. Its errors have exit
// code 78 and name the key.
func (c Config) Check() error {
	fields := c.fields()
	for _, k := range Keys() {
		if err := k.accept(*fields[k.Name]); err != nil {
			return exit.Configf("%s = %q: %w; it must be %s", k.Name, *fields[k.Name], err, k.Bound)
		}
	}
	if err := c.checkTogether(); err != nil {
		return exit.Configf("%w", err)
	}
	return nil
}

func (c *Config) checkTogether() error {
	if c.Web.TLS == "off" && !Loopback(c.Web.Listen) {
		return fmt.Errorf("web.tls is off, but web.listen %s is not a loopback address; passwords would cross the network in the clear: set web.tls to self or files", c.Web.Listen)
	}
	if c.Web.TLS == "files" && (c.Web.Certificate == "" || c.Web.Key == "") {
		return fmt.Errorf("web.tls is files: set web.certificate and web.key")
	}
	if c.Databases.Listen != "" && c.Web.TLS == "off" && !Loopback(c.Databases.Listen) {
		return fmt.Errorf("web.tls is off, but databases.listen %s is not a loopback address; keys would cross the network in the clear: set web.tls to self or files", c.Databases.Listen)
	}
	for name, e := range map[string]Endpoint{"peer": c.Peer, "gossip": c.Gossip, "link": c.Link, "databases": c.Databases} {
		host, _, _ := net.SplitHostPort(e.Listen)
		if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() && e.Advertise == "" {
			return fmt.Errorf("%s.listen is %s, which nobody can dial: set %s.advertise to this box's address", name, e.Listen, name)
		}
	}
	return nil
}

// Loopback reports whether the host of host:port is a loopback address or localhost.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// absolute resolves a file name of the configuration against the file's folder.
func absolute(dir, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}
