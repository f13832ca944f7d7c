package leaf

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Limits of an embedded server.
const (
	startLimit = 10 * time.Second // Of an embedded server; it takes 10 ms.
	// maxSubscriptions of one connection: ours have two, and loop detection one. A child
	// could fill the memory otherwise.
	maxSubscriptions = 64
	// dialLimit, handshakeLimit: a line of 800 ms a round trip that loses packets needs
	// seconds where the library grants one.
	dialLimit      = 10 * time.Second
	handshakeLimit = 10 * time.Second
	// closeLimit is how long close waits. The library's shutdown waits for handshakes that
	// are under way, which somebody who says nothing makes as long as handshakeLimit; they
	// end by themselves.
	closeLimit = time.Second
	// writeLimit is how long the other side may take nothing. The library cannot go on
	// with a TLS connection after it, and 1 MiB takes 131 s at 64 kbit/s.
	writeLimit = 5 * time.Minute
	// pingEvery costs an idle line 4 bytes a second. A ping waits behind the message that
	// is under way, so that a line is closed for want of an answer after 4 minutes only;
	// lines that carry requests are watched more closely (see calls.probe).
	pingEvery = 20 * time.Second
	maxPings  = 12
)

// embedded is a NATS server in this process, with one account and without a listener for
// clients, and our client of it.
type embedded struct {
	name   string
	server *server.Server
	acc    *server.Account
	nc     *nats.Conn
	secret string // Of the in-process client, for this server only.
	log    *slog.Logger
}

// accountName is the same everywhere: a server has one account, and a leaf connection
// joins the one of each side.
const accountName = "HOP"

// baseOptions are those of both hops: no listener but for leaf connections, no JetStream,
// no system account, no monitoring, no signals, no files.
func baseOptions(name string, leaf server.LeafNodeOpts) *server.Options {
	return &server.Options{
		ServerName:      name,
		DontListen:      true,
		NoSigs:          true,
		NoSystemAccount: true,
		Accounts:        []*server.Account{server.NewAccount(accountName)},
		// The library acts on headers that come over a line: "Nats-Trace-Dest" names a
		// subject that is told about the message. We need no headers.
		NoHeaderSupport: true,
		MaxPayload:      maxMessage,
		MaxControlLine:  4096,
		MaxSubs:         maxSubscriptions,
		MaxSubTokens:    16,
		PingInterval:    pingEvery,
		MaxPingsOut:     maxPings,
		// A child that takes nothing must not slow down what is sent to the others: what is
		// for it is dropped instead, once 3/4 of the pending bytes are in use.
		NoFastProducerStall: true,
		LeafNode:            leaf,
	}
}

// newEmbedded makes the server. authenticate is asked about leaf connections; nil: there
// are none to accept.
func newEmbedded(o *server.Options, authenticate func(server.ClientAuthentication) bool, log *slog.Logger) (*embedded, error) {
	e := &embedded{name: o.ServerName, secret: rand.Text(), log: log}
	o.CustomClientAuthentication = &authenticator{e, authenticate}
	var err error
	if e.server, err = server.NewServer(o); err != nil {
		return nil, fmt.Errorf("make the embedded NATS server: %w", err)
	}
	e.server.SetLoggerV2(natsLog{log.With("nats", o.ServerName)}, false, false, false)
	if e.acc, err = e.server.LookupAccount(accountName); err != nil {
		return nil, fmt.Errorf("find the account of the hop: %w", err)
	}
	return e, nil
}

// start starts the server and our client, with its subscriptions.
func (e *embedded) start(subscriptions map[string]nats.MsgHandler) (err error) {
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	e.server.Start()
	if !e.server.ReadyForConnections(startLimit) {
		return fmt.Errorf("start the embedded NATS server: not ready after %s", startLimit)
	}
	e.nc, err = nats.Connect("", nats.InProcessServer(e.server), nats.UserInfo(clientUser, e.secret),
		nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			e.log.Warn("the client of the embedded NATS server", "err", err)
		}))
	if err != nil {
		return fmt.Errorf("connect to the embedded NATS server: %w", err)
	}
	for subject, handle := range subscriptions {
		if _, err = e.nc.Subscribe(subject, handle); err != nil {
			return fmt.Errorf("subscribe to %s: %w", subject, err)
		}
	}
	return e.nc.Flush()
}

// close ends the lines and the listener.
func (e *embedded) close() {
	if e.nc != nil {
		e.nc.Close()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.server.Shutdown()
	}()
	select {
	case <-done:
	case <-time.After(closeLimit):
	}
}

// clientUser is the name of our client of the embedded server.
const clientUser = "node"

// authenticator decides who may connect to the embedded server.
type authenticator struct {
	e    *embedded
	leaf func(server.ClientAuthentication) bool
}

// Check lets our client in by the secret of this start, leaf connections by their
// certificate, and nobody else.
func (a *authenticator) Check(c server.ClientAuthentication) bool {
	switch c.Kind() {
	case server.CLIENT:
		o := c.GetOpts()
		if o.Username != clientUser || subtle.ConstantTimeCompare([]byte(o.Password), []byte(a.e.secret)) != 1 {
			return false
		}
		c.RegisterUser(&server.User{Username: clientUser, Account: a.e.acc})
		return true
	case server.LEAF:
		return a.leaf != nil && a.leaf(c)
	}
	return false
}

// natsLog hands the library's messages on. Its notices are our debug, its errors our
// warnings: a line that breaks is no error of this program.
type natsLog struct{ log *slog.Logger }

func (l natsLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l natsLog) Warnf(format string, v ...any)   { l.log.Info(fmt.Sprintf(format, v...)) }
func (l natsLog) Errorf(format string, v ...any)  { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l natsLog) Fatalf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l natsLog) Debugf(string, ...any)           {}
func (l natsLog) Tracef(string, ...any)           {}
