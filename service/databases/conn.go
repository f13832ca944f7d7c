package databases

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Serving a request of a program is little work beside what net/http does for any request.
// So this package reads connections itself, as long as what comes is what programs send: a
// GET or POST of HTTP/1.1 with a Content-Length and no surprises. With anything else it hands
// the connection over to net/http, with all that was read of it.

const (
	// maxHead bounds the request line and the headers, bytes.
	maxHead = 32 << 10
	// firstBuffer is what a connection reads into at first.
	firstBuffer = 4 << 10
	// idleConn is how long a connection may say nothing; slack is how much of that may be gone
	// before the deadline is set anew: setting it costs as much as a small answer.
	idleConn = 2 * time.Minute
	slack    = 30 * time.Second
	// lingerTime and maxLinger bound what is taken of a refused body.
	lingerTime = time.Second
	maxLinger  = 64 << 20
	// writeRate is how fast a client must take a large answer, bytes a second.
	writeRate = 64 << 10
)

// conn is one connection.
type conn struct {
	net.Conn
	listener *Listener
	buf      []byte
	r, w     int       // What is read and not used yet: buf[r:w].
	deadline time.Time // When it was set last.
	out      []byte
	x        exchange
	last     bool // The connection ends with this request.
	sized    bool // It has said its length.
	// Of the request before: a program asks for the same again and again.
	target, authorization string
	path, query           string
}

// serve answers requests until the connection ends.
func (c *conn) serve() {
	gone := false
	defer func() {
		c.listener.leave(c)
		if !gone {
			_ = c.Close()
		}
	}()
	for {
		head, err := c.head()
		if err != nil {
			return
		}
		if !c.parse(head) {
			gone = c.handOver()
			return
		}
		c.r += len(head)
		if !c.one() {
			return
		}
	}
}

// handOver gives the connection to net/http, with the request that was not understood.
func (c *conn) handOver() bool {
	rest := bytes.Clone(c.buf[c.r:c.w])
	_ = c.SetDeadline(time.Time{})
	select {
	case c.listener.others.conns <- &replayed{c.Conn, rest}:
		return true
	case <-c.listener.others.done:
		return false
	}
}

// extend makes sure that the connection has time left.
func (c *conn) extend(now time.Time, least time.Duration) error {
	if now.Sub(c.deadline)+least <= slack {
		return nil
	}
	c.deadline = now.Add(least)
	err := c.SetDeadline(now.Add(least + idleConn))
	if c.listener.isEnding() { // Shutdown may have set it before.
		return errors.Join(err, c.SetReadDeadline(time.Unix(1, 0)))
	}
	return err
}

var headEnd = []byte("\r\n\r\n")

// head reads up to the end of a request's headers, and returns them with that end. It stays
// in the buffer.
func (c *conn) head() ([]byte, error) {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	searched := c.r
	for {
		if i := bytes.Index(c.buf[searched:c.w], headEnd); i >= 0 {
			return c.buf[c.r : searched+i+len(headEnd)], nil
		}
		searched = max(c.r, c.w-len(headEnd)+1)
		if c.w-c.r > maxHead {
			return c.buf[c.r:c.w], nil // net/http says what is wrong with it.
		}
		if c.w == len(c.buf) {
			n := copy(c.buf, c.buf[c.r:c.w])
			searched -= c.r
			c.r, c.w = 0, n
			if n == len(c.buf) {
				c.buf = append(c.buf, make([]byte, len(c.buf))...)
			}
		}
		if c.listener.isEnding() {
			return nil, net.ErrClosed
		}
		if err := c.extend(time.Now(), 0); err != nil {
			return nil, err
		}
		n, err := c.Conn.Read(c.buf[c.w:])
		c.w += n
		if n == 0 && err != nil {
			return nil, err
		}
	}
}

// parse reads the head of a request into c.x; false: it is not the form that programs send.
func (c *conn) parse(head []byte) bool {
	line, rest, ok := bytes.Cut(head, headEnd[:2])
	if !ok || !bytes.HasSuffix(head, headEnd) {
		return false
	}
	method, target, ok := bytes.Cut(line, []byte{' '})
	if !ok || !bytes.HasSuffix(target, []byte(" HTTP/1.1")) {
		return false
	}
	target = target[:len(target)-len(" HTTP/1.1")]
	c.x = exchange{ctx: c.listener.ctx, length: 0}
	switch string(method) {
	case http.MethodPost:
		c.x.method, c.x.length = http.MethodPost, -1
	case http.MethodGet:
		c.x.method = http.MethodGet
	default:
		return false
	}
	if !c.parseTarget(target) {
		return false
	}
	c.last, c.sized = false, false
	hosts := 0
	for {
		line, rest, _ = bytes.Cut(rest, headEnd[:2])
		if len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte{':'})
		if !ok || !isToken(name) || !c.header(name, bytes.Trim(value, " \t"), &hosts) {
			return false
		}
	}
	return hosts == 1 && c.x.length >= 0
}

// parseTarget reads "/path?query". What is escaped in the path is for net/http.
func (c *conn) parseTarget(target []byte) bool {
	if string(target) == c.target {
		c.x.path, c.x.query = c.path, c.query
		return true
	}
	if len(target) == 0 || target[0] != '/' {
		return false
	}
	for _, b := range target {
		if b <= ' ' || b >= 0x7f || b == '#' {
			return false
		}
	}
	c.target = string(target)
	c.path, c.query, _ = strings.Cut(c.target, "?")
	if strings.Contains(c.path, "%") {
		c.target = ""
		return false
	}
	c.x.path, c.x.query = c.path, c.query
	return true
}

// isToken is the grammar of a header's name (RFC 9110, section 5.1), but for rare signs.
func isToken(name []byte) bool {
	for _, b := range name {
		if (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && (b < '0' || b > '9') && b != '-' && b != '_' {
			return false
		}
	}
	return len(name) > 0
}

// header takes one header; false: it is one that only net/http understands.
func (c *conn) header(name, value []byte, hosts *int) bool {
	for _, b := range value {
		if b < ' ' && b != '\t' || b == 0x7f {
			return false
		}
	}
	x := &c.x
	is := func(s string) bool { return len(name) == len(s) && strings.EqualFold(string(name), s) }
	switch len(name) {
	case len("Host"):
		if is("Host") {
			*hosts++
		}
	case len("Expect"):
		return !is("Expect")
	case len("Upgrade"): // And Trailer.
		return !is("Upgrade") && !is("Trailer")
	case len("Connection"):
		if is("Connection") {
			c.last = bytes.EqualFold(value, []byte("close"))
			return c.last || bytes.EqualFold(value, []byte("keep-alive"))
		}
	case len("Content-Type"):
		if is("Content-Type") {
			x.contentType = contentType(value)
		}
	case len("Authorization"): // And Tongban-Index.
		switch {
		case is("Authorization"):
			if x.authorization != "" {
				return false
			}
			if string(value) != c.authorization {
				c.authorization = string(value)
			}
			x.authorization = c.authorization
		case is(HeaderIndex):
			x.index = string(value)
		}
	case len("Content-Length"):
		if is("Content-Length") {
			return c.contentLength(value)
		}
	case len("Transfer-Encoding"):
		return !is("Transfer-Encoding")
	}
	return true
}

// contentType is value as a text that is made anew only when it is a rare one.
func contentType(value []byte) string {
	if string(value) == "application/json" {
		return "application/json"
	}
	return string(value)
}

func (c *conn) contentLength(value []byte) bool {
	if len(value) == 0 || len(value) > 10 || c.sized {
		return false
	}
	c.sized = true
	n := int64(0)
	for _, b := range value {
		if b < '0' || b > '9' {
			return false
		}
		n = 10*n + int64(b-'0')
	}
	c.x.length = n
	return true
}

// one answers the request that was parsed; false: the connection ends.
func (c *conn) one() bool {
	s := c.listener.server
	b := s.buffers.Get().(*buffers)
	defer s.release(b)
	unread := c.x.length
	c.x.body = func(into []byte) ([]byte, error) {
		into, err := c.readBody(into, c.x.length)
		unread = 0
		return into, err
	}
	s.answer(&c.x, b, false)
	if unread > 0 { // It was refused before.
		if unread > maxBody {
			c.last = true
		} else if _, err := c.readBody(b.in[:0], unread); err != nil {
			c.last = true
		}
	}
	now := time.Now()
	c.last = c.last || c.listener.isEnding()
	if err := c.extend(now, time.Duration(len(c.x.reply.body)/writeRate)*time.Second); err != nil {
		return false
	}
	c.out = c.x.reply.append(c.out[:0], c.listener.dateNow(now), c.last)
	_, err := c.Write(c.out)
	if cap(c.out) > keepBuffer {
		c.out = nil
	}
	if err == nil && unread > maxBody {
		c.linger(unread)
	}
	return err == nil && !c.last
}

// linger takes, for a while, what a client still sends of a refused body: closed at once, the
// connection would be reset, and the refusal lost.
func (c *conn) linger(unread int64) {
	_ = c.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, c.Conn, min(unread, maxLinger)) // It ends, and nobody needs to know how.
}

// readBody reads the n bytes that follow the head, into the room that into has.
func (c *conn) readBody(into []byte, n int64) ([]byte, error) {
	into = append(into[:0], c.buf[c.r:min(c.w, c.r+int(n))]...)
	c.r += len(into)
	missing := int(n) - len(into)
	if missing == 0 {
		return into, nil
	}
	have := len(into)
	if cap(into) < int(n) {
		into = append(make([]byte, 0, n), into...)
	}
	into = into[:n]
	for have < len(into) {
		if err := c.extend(time.Now(), slack); err != nil {
			return into[:have], err
		}
		got, err := c.Conn.Read(into[have:])
		have += got
		if err != nil && have < len(into) {
			return into[:have], errors.Join(io.ErrUnexpectedEOF, err)
		}
	}
	return into, nil
}
