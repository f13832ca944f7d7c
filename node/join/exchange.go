package join

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	// maxMessage bounds a request or an answer, bytes.
	maxMessage = 256 << 10
	// patience is how long one exchange may take; a leader change fits in.
	patience = 30 * time.Second
	// askWithin is how long a box may take to ask once it is connected.
	askWithin = 5 * time.Second
	// dialTimeout is for one address of a token: poor lines need some seconds.
	dialTimeout = 5 * time.Second
)

// Exchange sends one message to a node port and reads the answer into got, each a line of
// JSON, over TLS without a client certificate. Nothing is sent before verify has accepted
// the peer; message makes what is sent, when it can be. It takes 30 s at most.
func Exchange(ctx context.Context, address, protocol string, verify func(tls.ConnectionState) error, now func() time.Time, message func() any, got any) error {
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: dialTimeout},
		Config: &tls.Config{
			MinVersion:         tls.VersionTLS13,
			NextProtos:         []string{protocol},
			InsecureSkipVerify: true, // verify pins the authority.
			Time:               now,
			VerifyConnection:   verify,
		},
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return explainDial(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	if err := writeMessage(conn, message()); err != nil {
		return err
	}
	if err := readMessage(conn, got); err != nil {
		return fmt.Errorf("the connection broke before the answer came; if this goes on, use a new token: %w", err)
	}
	return nil
}

// ServeExchange reads one message into asked, sends what answer returns, and closes conn.
// unread says why no message could be read; the error of answer is passed on, for the log.
func ServeExchange(ctx context.Context, conn net.Conn, asked any, answer func(ctx context.Context, unread error) (any, error)) error {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	if err := conn.SetReadDeadline(time.Now().Add(askWithin)); err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	reply, err := answer(ctx, readMessage(conn, asked))
	return errors.Join(err, writeMessage(conn, reply))
}

// ExplainExpiry turns the refusal of a certificate for its dates into a sentence about the
// clock, which is what is wrong on a new box; false: err is another one.
func ExplainExpiry(err error, cert *x509.Certificate, now time.Time) (told error, expired bool) {
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
		return err, false
	}
	return fmt.Errorf("its certificate is valid from %s to %s, and this box's clock says %s; set the clock",
		cert.NotBefore.Format(time.RFC3339), cert.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339)), true
}

func explainDial(err error) error {
	var alert tls.AlertError
	if errors.As(err, &alert) || errors.As(err, new(tls.RecordHeaderError)) {
		return fmt.Errorf("what answers is not a node port of tongban: %w", err)
	}
	return err
}

func writeMessage(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	if _, err := w.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("send a message: %w", err)
	}
	return nil
}

// readMessage reads one line of JSON.
func readMessage(r io.Reader, v any) error {
	line, err := bufio.NewReader(io.LimitReader(r, maxMessage)).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("decode a message: %w", err)
	}
	return nil
}
