package databases

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"tongban/replication"
	"tongban/service"
)

const (
	// maxBody bounds the body of a request, bytes.
	maxBody = 8 << 20
	// maxAnswer bounds the rows of an answer, bytes of JSON; maxRows their number.
	maxAnswer = 32 << 20
	maxRows   = 200_000
	// keepBuffer is the largest buffer that is kept for the next request, bytes.
	keepBuffer = 1 << 20
	// defaultTimeout and maxTimeout are for a whole request.
	defaultTimeout = 30 * time.Second
	maxTimeout     = 5 * time.Minute
	// defaultWrite and maxWrite are for the statements of a list that writes: nobody else
	// writes to the database meanwhile.
	defaultWrite = 5 * time.Second
	maxWrite     = 30 * time.Second
	// defaultRead and maxRead are for the statements of a read.
	defaultRead = 10 * time.Second
	maxRead     = 60 * time.Second
	// leaderPatience is how long a request waits for a leader that is not there.
	leaderPatience = 1500 * time.Millisecond
	leaderPause    = 20 * time.Millisecond
)

// Headers of the interface beside those of HTTP.
const (
	// HeaderIndex is an index token: an answer says with it where the database was, and a
	// read that brings it waits until its node has that.
	HeaderIndex = "Tongban-Index"
	// HeaderOutcome says, with a status of 503, whether a change is made: "none" is
	// certainly not, "unknown" perhaps.
	HeaderOutcome = "Tongban-Outcome"
	outcomeNone   = "none"
	outcomeOpen   = "unknown"
	// headerDivision goes with a request that is forwarded: what its node had of the division
	// database.
	headerDivision = "Tongban-Division"
)

// Databases are the databases of this node; package tenancy has them.
type Databases interface {
	Division() *service.DB
	Application(id replication.DatabaseID) (*replication.DB, bool)
	Serving() bool
}

// Neighbours are the other nodes of the division.
type Neighbours interface {
	// Forward sends a request to the node port of another node.
	Forward(ctx context.Context, to replication.NodeID, r *http.Request) (*http.Response, error)
	// Up reports whether a node is connected.
	Up(n replication.NodeID) bool
	// Addresses are the URLs of the listeners of the division's nodes, empty for a node that
	// has none or does not answer.
	Addresses(ctx context.Context) map[replication.NodeID]string
	// Unreached reports whether an error of Forward says that nothing was sent.
	Unreached(err error) bool
}

// Options are the parts of a Server; all are required.
type Options struct {
	Databases  Databases
	Neighbours Neighbours
	Self       replication.NodeID
	Version    string
	Log        *slog.Logger
}

// Server answers the requests of programs.
type Server struct {
	o       Options
	keys    keyring
	buffers sync.Pool
	queues  queues
}

// NewServer returns a Server. Close it.
func NewServer(o Options) *Server {
	return &Server{o: o, buffers: sync.Pool{New: func() any { return new(buffers) }}}
}

// buffers are what one request needs for a while.
type buffers struct {
	in, out []byte
	rows    rowsWriter
}

func (s *Server) release(b *buffers) {
	if cap(b.in) <= keepBuffer && cap(b.out) <= keepBuffer {
		b.in, b.out = b.in[:0], b.out[:0]
		s.buffers.Put(b)
	}
}

// call is one request on its way.
type call struct {
	*buffers
	*exchange
	server   *Server
	params   params
	grant    grant
	db       *replication.DB
	began    time.Time
	deadline time.Time
	within   bool // It came from another node, and is not passed on.
	at       replication.Index
}

// Public answers, over net/http, the requests that come to the listener; see Serve.
func (s *Server) Public() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.carry(w, exchangeOf(r, r.URL.Path), false)
	})
}

// ForwardPath is the folder of the requests that other nodes forward.
const ForwardPath = "/sql/"

// Internal answers what other nodes forward, below ForwardPath. Who asks is checked again.
func (s *Server) Internal() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.carry(w, exchangeOf(r, "/"+strings.TrimPrefix(r.URL.Path, ForwardPath)), true)
	})
}

// carry answers a request of net/http.
func (s *Server) carry(w http.ResponseWriter, x *exchange, within bool) {
	b := s.buffers.Get().(*buffers)
	defer s.release(b)
	s.answer(x, b, within)
	x.reply.send(w)
}

// answer answers a request in x.reply, whose body lasts as long as b.
func (s *Server) answer(x *exchange, b *buffers, within bool) {
	var handle func(c *call)
	switch strings.TrimSuffix(x.path, "/") {
	case "/db/execute":
		handle = (*call).execute
	case "/db/query":
		handle = (*call).query
	case "/db/request":
		handle = (*call).request
	case "/status":
		handle = (*call).status
	case "/nodes":
		handle = (*call).nodes
	case "/readyz":
		s.readyz(x)
		return
	default:
		x.refuse(http.StatusNotFound, "there is nothing here; the paths are /db/execute, /db/query, /db/request, /status, /nodes and /readyz")
		return
	}
	c := call{buffers: b, exchange: x, server: s, began: time.Now(), within: within}
	if c.open() {
		handle(&c)
	}
}

// open finds out who asks for what; false: it is refused.
func (c *call) open() bool {
	s := c.server
	var err error
	if c.params, err = parseParams(c.exchange.query); err != nil {
		c.refuse(http.StatusBadRequest, err.Error())
		return false
	}
	timeout := defaultTimeout
	if c.params.timeout > 0 {
		timeout = min(c.params.timeout, maxTimeout)
	}
	c.deadline = c.began.Add(timeout)
	division := s.o.Databases.Division()
	if !s.o.Databases.Serving() {
		c.unavailable("the node is still starting", outcomeNone)
		return false
	}
	c.grant, err = s.keys.open(c.ctx, division, c.authorization)
	if errors.Is(err, errNoGrant) && c.within {
		c.grant, err = c.openLater(division)
	}
	if errors.Is(err, errNoGrant) {
		c.reply.authenticate = true
		c.refuse(http.StatusUnauthorized, "this needs a key: HTTP basic authentication with the user <department>.<database> and the key as password")
		return false
	}
	if err != nil {
		s.o.Log.Error("look up a key", "err", err)
		c.unavailable("the division's records cannot be read on this node now", outcomeNone)
		return false
	}
	var ok bool
	if c.db, ok = s.o.Databases.Application(c.grant.database); !ok {
		c.unavailable("the database is being opened on this node", outcomeNone)
		return false
	}
	return true
}

// openLater looks for a key again when this node has of the division's records what the node
// had that forwarded the request: it may be a new one.
func (c *call) openLater(division *service.DB) (grant, error) {
	at, err := strconv.ParseUint(c.division, 10, 64)
	if err != nil || replication.Index(at) <= division.Applied() {
		return grant{}, errNoGrant
	}
	ctx, cancel := context.WithTimeout(c.ctx, leaderPatience)
	defer cancel()
	if err := division.WaitApplied(ctx, replication.Index(at)); err != nil {
		return grant{}, err
	}
	return c.server.keys.open(ctx, division, c.authorization)
}

// unavailable answers 503: the same request may be answered later.
func (c *call) unavailable(text, outcome string) {
	c.reply.retry, c.reply.outcome = true, outcome
	c.refuse(http.StatusServiceUnavailable, text)
}

// read reads the body; false: it is refused.
func (c *call) read() bool {
	err := errLarge
	if c.length <= maxBody {
		c.in, err = c.body(c.in[:0])
	}
	switch {
	case err == nil:
		return true
	case errors.Is(err, errLarge):
		c.refuse(http.StatusRequestEntityTooLarge, "the body is larger than 8 MiB; divide it")
	default:
		c.refuse(http.StatusBadRequest, "the body cannot be read")
	}
	return false
}

// statements reads the body as statements; false: it is refused.
func (c *call) statements() ([]replication.Statement, bool) {
	if c.exchange.method == http.MethodGet {
		if c.params.q == "" {
			c.refuse(http.StatusBadRequest, "query parameter not set")
			return nil, false
		}
		return []replication.Statement{{SQL: c.params.q}}, true
	}
	if !c.read() {
		return nil, false
	}
	if strings.HasPrefix(c.contentType, "text/plain") {
		return []replication.Statement{{SQL: string(c.in)}}, true
	}
	list, err := decode(c.in)
	if err != nil {
		c.refuse(http.StatusBadRequest, err.Error())
		return nil, false
	}
	return list, true
}

// allowed refuses other methods; GET is for queries only.
func (c *call) allowed(get bool) bool {
	if c.exchange.method == http.MethodPost || get && c.exchange.method == http.MethodGet {
		return true
	}
	allow := "POST"
	if get {
		allow = "GET, POST"
	}
	c.reply.allow = allow
	c.refuse(http.StatusMethodNotAllowed, "the method is not allowed here")
	return false
}

// finish sends what is in c.out: the results, without what is around them.
func (c *call) finish(sequence int64) {
	b := append(c.out, ']')
	if c.params.timings {
		b = appendFloat(append(b, `,"time":`...), time.Since(c.began).Seconds())
	}
	if sequence != 0 {
		b = strconv.AppendInt(append(b, `,"sequence_number":`...), sequence, 10)
	}
	if c.params.raftIndex && c.at != 0 {
		b = strconv.AppendUint(append(b, `,"raft_index":`...), uint64(c.at), 10)
	}
	c.out = append(b, '}')
	c.send()
}

// results begins an answer.
func (c *call) results() { c.out = append(c.out[:0], `{"results":[`...) }

// send answers with the document in c.out.
func (c *call) send() {
	out := c.out
	if c.params.pretty {
		out = indent(out)
	}
	c.reply.status, c.reply.contentType, c.reply.index, c.reply.body = http.StatusOK, typeJSON, c.at, out
}

// seen is the context of a read: it waits for the index that the client brings.
func (c *call) seen(ctx context.Context) context.Context {
	if c.index == "" {
		return ctx
	}
	n, err := strconv.ParseUint(c.index, 10, 64)
	if err != nil {
		return ctx
	}
	return replication.WithIndex(ctx, replication.Index(n))
}
