package databases

import (
	"context"
	"errors"
	"io"
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
	server   *Server
	w        http.ResponseWriter
	r        *http.Request
	params   params
	grant    grant
	db       *replication.DB
	began    time.Time
	deadline time.Time
	within   bool // It came from another node, and is not passed on.
	index    replication.Index
}

// Public answers the requests that come to the listener.
func (s *Server) Public() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, r.URL.Path, false) })
}

// ForwardPath is the folder of the requests that other nodes forward.
const ForwardPath = "/sql/"

// Internal answers what other nodes forward, below ForwardPath. Who asks is checked again.
func (s *Server) Internal() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, "/"+strings.TrimPrefix(r.URL.Path, ForwardPath), true)
	})
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, path string, within bool) {
	var handle func(c *call)
	switch strings.TrimSuffix(path, "/") {
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
		s.readyz(w, r)
		return
	default:
		refuse(w, http.StatusNotFound, "there is nothing here; the paths are /db/execute, /db/query, /db/request, /status, /nodes and /readyz")
		return
	}
	c := &call{buffers: s.buffers.Get().(*buffers), server: s, w: w, r: r, began: time.Now(), within: within}
	defer func() { s.release(c.buffers) }()
	if c.open() {
		handle(c)
	}
}

// open finds out who asks for what; false: it is refused.
func (c *call) open() bool {
	s := c.server
	var err error
	if c.params, err = parseParams(c.r.URL.RawQuery); err != nil {
		refuse(c.w, http.StatusBadRequest, err.Error())
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
	c.grant, err = s.keys.open(c.r.Context(), division, c.r.Header.Get("Authorization"))
	if errors.Is(err, errNoGrant) {
		c.w.Header()["Www-Authenticate"] = headerBasic
		refuse(c.w, http.StatusUnauthorized, "this needs a key: HTTP basic authentication with the user <department>.<database> and the key as password")
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

// Values of headers, made once.
var (
	headerBasic = []string{`Basic realm="tongban", charset="UTF-8"`}
	headerJSON  = []string{"application/json; charset=utf-8"}
	headerText  = []string{"text/plain; charset=utf-8"}
	headerRetry = []string{"1"}
)

// refuse answers with a sentence.
func refuse(w http.ResponseWriter, status int, text string) {
	w.Header()["Content-Type"] = headerText
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // The client went away: nobody to tell.
}

// unavailable answers 503: the same request may be answered later.
func (c *call) unavailable(text, outcome string) {
	h := c.w.Header()
	h["Retry-After"] = headerRetry
	h[HeaderOutcome] = []string{outcome}
	refuse(c.w, http.StatusServiceUnavailable, text)
}

// read reads the body; false: it is refused.
func (c *call) read() bool {
	if c.r.ContentLength > maxBody {
		refuse(c.w, http.StatusRequestEntityTooLarge, "the body is larger than 8 MiB; divide it")
		return false
	}
	b := c.in[:0]
	if n := int(c.r.ContentLength); n >= cap(b) {
		b = make([]byte, 0, n+1)
	}
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := c.r.Body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case len(b) > maxBody:
			refuse(c.w, http.StatusRequestEntityTooLarge, "the body is larger than 8 MiB; divide it")
			return false
		case errors.Is(err, io.EOF):
			c.in = b
			return true
		case err != nil:
			refuse(c.w, http.StatusBadRequest, "the body cannot be read")
			return false
		}
	}
}

// statements reads the body as statements; false: it is refused.
func (c *call) statements() ([]replication.Statement, bool) {
	if c.r.Method == http.MethodGet {
		if c.params.q == "" {
			refuse(c.w, http.StatusBadRequest, "query parameter not set")
			return nil, false
		}
		return []replication.Statement{{SQL: c.params.q}}, true
	}
	if !c.read() {
		return nil, false
	}
	if strings.HasPrefix(c.r.Header.Get("Content-Type"), "text/plain") {
		return []replication.Statement{{SQL: string(c.in)}}, true
	}
	list, err := decode(c.in)
	if err != nil {
		refuse(c.w, http.StatusBadRequest, err.Error())
		return nil, false
	}
	return list, true
}

// method refuses other methods; GET is for queries only.
func (c *call) method(get bool) bool {
	if c.r.Method == http.MethodPost || get && c.r.Method == http.MethodGet {
		return true
	}
	allow := "POST"
	if get {
		allow = "GET, POST"
	}
	c.w.Header().Set("Allow", allow)
	refuse(c.w, http.StatusMethodNotAllowed, "the method is not allowed here")
	return false
}

// answer sends what is in c.out: the results, without what is around them.
func (c *call) answer(sequence int64) {
	b := append(c.out, ']')
	if c.params.timings {
		b = appendFloat(append(b, `,"time":`...), time.Since(c.began).Seconds())
	}
	if sequence != 0 {
		b = strconv.AppendInt(append(b, `,"sequence_number":`...), sequence, 10)
	}
	if c.params.raftIndex && c.index != 0 {
		b = strconv.AppendUint(append(b, `,"raft_index":`...), uint64(c.index), 10)
	}
	c.out = append(b, '}')
	c.send()
}

// results begins an answer.
func (c *call) results() { c.out = append(c.out[:0], `{"results":[`...) }

// send sends the document in c.out.
func (c *call) send() {
	out := c.out
	if c.params.pretty {
		out = indent(out)
	}
	h := c.w.Header()
	h["Content-Type"] = headerJSON
	h["Content-Length"] = []string{strconv.Itoa(len(out))}
	if c.index != 0 {
		h[HeaderIndex] = []string{strconv.FormatUint(uint64(c.index), 10)}
	}
	_, _ = c.w.Write(out) // The client went away: nobody to tell.
}

// seen is the context of a read: it waits for the index that the client brings.
func (c *call) seen(ctx context.Context) context.Context {
	text := c.r.Header[HeaderIndex]
	if len(text) == 0 {
		return ctx
	}
	n, err := strconv.ParseUint(text[0], 10, 64)
	if err != nil {
		return ctx
	}
	return replication.WithIndex(ctx, replication.Index(n))
}
