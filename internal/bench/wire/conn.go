// Package wire loads HTTP servers with as little work of its own as it can: one goroutine
// and one kept-alive connection a client, requests copied from a template, answers read
// into a buffer that is used again.
//
// A general client spends more on a request than a fast server does on its answer, and the
// load shares the machine with what it measures. [Drive] says what share of a core the
// load itself took.
//
// It speaks only as much HTTP/1.1 (RFC 9112) as a benchmark of servers on loopback needs:
// plain TCP, Content-Length or chunked bodies, no redirects.
package wire

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

const (
	// maxBody bounds an answer, bytes: no benchmark asks for more.
	maxBody = 64 << 20
	// maxLine bounds a line of an answer's head, bytes.
	maxLine = 16 << 10
	// patience bounds one request: a server that is silent for so long is broken.
	patience = 60 * time.Second
)

// Conn is a client with one connection to one server, dialled at the first request and
// again after an error. It is not safe for concurrent use.
type Conn struct {
	addr string

	conn net.Conn
	r    *bufio.Reader
	out  []byte
	body []byte
}

// NewConn returns a client of the server at addr, "host:port".
func NewConn(addr string) *Conn {
	return &Conn{addr: addr, r: bufio.NewReaderSize(nil, maxLine)}
}

// Request is what a client sends.
type Request struct {
	Method string
	Target string // Path and query.
	Head   string // Further lines, each with its CR and LF; see [Basic].
	Body   []byte // JSON.
}

// Basic is the line of a request's head that names who asks (RFC 7617).
func Basic(user, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + "\r\n"
}

// Close ends the connection.
func (c *Conn) Close() {
	if c.conn != nil {
		_ = c.conn.Close() // Nothing is lost: every answer was read.
		c.conn = nil
	}
}

// Dial connects, if it is not connected.
func (c *Conn) Dial(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return err
	}
	c.conn = conn
	c.r.Reset(conn)
	return nil
}

// Do sends a request and reads its answer. The body is valid until the next call. An error
// says nothing about whether the server did it; ctx's end is looked at before only.
func (c *Conn) Do(ctx context.Context, q Request) (status int, answer []byte, err error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	if err := c.Dial(ctx); err != nil {
		return 0, nil, err
	}
	c.out = append(append(append(c.out[:0], q.Method...), ' '), q.Target...)
	c.out = append(append(c.out, " HTTP/1.1\r\nHost: "...), c.addr...)
	c.out = append(append(c.out, "\r\n"...), q.Head...)
	c.out = append(c.out, "Content-Type: application/json\r\nContent-Length: "...)
	c.out = append(strconv.AppendInt(c.out, int64(len(q.Body)), 10), "\r\n\r\n"...)
	c.out = append(c.out, q.Body...)
	status, again, err := c.roundTrip()
	if err != nil {
		c.Close()
		return 0, nil, fmt.Errorf("%s %s at %s: %w", q.Method, q.Target, c.addr, err)
	}
	if !again {
		c.Close()
	}
	return status, c.body, nil
}

func (c *Conn) roundTrip() (status int, again bool, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, false, err
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return 0, false, err
	}
	return c.answer()
}

// answer reads one answer into c.body; again says whether the connection can be used
// again.
func (c *Conn) answer() (status int, again bool, err error) {
	line, err := c.line()
	if err != nil {
		return 0, false, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, false, fmt.Errorf("an answer begins with %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, false, fmt.Errorf("an answer begins with %q", line)
	}
	size, chunked, again := -1, false, true
	for {
		if line, err = c.line(); err != nil {
			return 0, false, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch value = bytes.TrimSpace(value); {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if size, err = strconv.Atoi(string(value)); err != nil || size < 0 {
				return 0, false, fmt.Errorf("an answer has the length %q", value)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Connection")):
			again = !bytes.EqualFold(value, []byte("close"))
		}
	}
	c.body = c.body[:0]
	switch {
	case chunked:
		err = c.chunks()
	case size >= 0:
		err = c.read(size)
	default:
		err = errors.New("an answer says nothing of its length")
	}
	return status, again, err
}

// line reads one line of a head, without its end; it is valid until the next read.
func (c *Conn) line() ([]byte, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

// read appends n bytes to the body.
func (c *Conn) read(n int) error {
	if len(c.body)+n > maxBody {
		return fmt.Errorf("an answer has more than %d bytes", maxBody)
	}
	from := len(c.body)
	if cap(c.body) < from+n {
		c.body = append(make([]byte, 0, 2*(from+n)), c.body...)
	}
	c.body = c.body[:from+n]
	_, err := io.ReadFull(c.r, c.body[from:])
	return err
}

// chunks appends the chunks of a body (RFC 9112, section 7.1); trailers are dropped.
func (c *Conn) chunks() error {
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		digits, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(digits)), 16, 31)
		if err != nil {
			return fmt.Errorf("a chunk has the length %q", line)
		}
		if n == 0 {
			break
		}
		if err := c.read(int(n)); err != nil {
			return err
		}
		if _, err := c.line(); err != nil {
			return err
		}
	}
	for {
		line, err := c.line()
		if err != nil || len(line) == 0 {
			return err
		}
	}
}
