package nodetest

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"time"

	"tongban/node/trust"
)

// Certificates makes the nodes' certificates last for valid, and has the nodes look every
// check whether to renew theirs.
func Certificates(valid, check time.Duration) Option {
	return func(c *Cluster) { c.opts.CertificateValid, c.opts.CertificateCheck = valid, check }
}

// Certificate is what node i shows at its node port now, to whoever asks; nil while it does
// not answer.
func (c *Cluster) Certificate(i int) *x509.Certificate {
	c.tb.Helper()
	conn, err := tls.Dial("tcp", c.boxes[i].cfg.Peer.Listen, &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{trust.ProtocolJoin}}) // It only looks.
	if err != nil {
		return nil
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

// LoseCertificate deletes the certificates that node i, which must not run, has obtained: at
// its next start it shows the one that it came with, and obtains another.
func (c *Cluster) LoseCertificate(i int) {
	c.tb.Helper()
	if err := os.RemoveAll(filepath.Join(c.boxes[i].cfg.Data, "tls", "managed")); err != nil {
		c.tb.Fatal(err)
	}
}
