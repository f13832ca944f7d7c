package node

import (
	"crypto/tls"
	"net"
	"net/url"
	"path/filepath"
	"slices"

	"tongban/node/exit"
	"tongban/node/trust"
)

// webTLS is the TLS configuration of people's port.
func (n *Node) webTLS() (*tls.Config, error) {
	certificate, key := n.cfg.Web.Certificate, n.cfg.Web.Key
	if n.cfg.Web.TLS == "self" {
		certificate, key = filepath.Join(n.cfg.Data, "tls", "web.pem"), filepath.Join(n.cfg.Data, "tls", "web-key.pem")
		if err := trust.SelfSigned(certificate, key, n.webNames(), n.now()); err != nil {
			return nil, err
		}
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, exit.Configf("read web.certificate and web.key: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, Time: n.now,
		NextProtos: []string{"h2", "http/1.1"}}, nil
}

// webNames are the names under which people reach this node.
func (n *Node) webNames() []string {
	names := []string{"localhost"}
	for _, address := range []string{n.cfg.Web.Listen, n.cfg.Databases.Listen, n.cfg.Databases.Advertise} {
		if host, _, err := net.SplitHostPort(address); err == nil && !slices.Contains(names, host) {
			names = append(names, host)
		}
	}
	if u, err := url.Parse(n.cfg.Web.URL); err == nil && u.Hostname() != "" {
		names = append(names, u.Hostname())
	}
	return names
}
