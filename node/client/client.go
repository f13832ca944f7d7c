// Package client speaks to a running node through its admin socket, as the operator. It is
// what commands use; what they may ask is every route of the services, and the node verbs
// of package node.
package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"tongban/node/config"
	"tongban/node/exit"
)

const (
	// patience bounds one request: a node repeats a change for ten seconds.
	patience = time.Minute
	// maxAnswer bounds an answer, bytes.
	maxAnswer = 64 << 20
)

// Client speaks to one node. Its methods may be called concurrently.
type Client struct {
	socket string
	http   *http.Client
}

// New returns a client of the node with this configuration.
func New(cfg config.Config) *Client {
	socket, moved := cfg.AdminSocket()
	dialer := &net.Dialer{}
	return &Client{socket: socket, http: &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if moved {
				if err := config.CheckRuntimeDir(); err != nil {
					return nil, err
				}
			}
			return dialer.DialContext(ctx, "unix", socket)
		},
	}}}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Problem is a refusal (application/problem+json, RFC 9457).
type Problem struct {
	Status   int     `json:"status"`
	Title    string  `json:"title"`
	Detail   string  `json:"detail"`
	Reason   string  `json:"reason"`
	Do       string  `json:"do"`
	Instance string  `json:"instance"`
	Fields   []Field `json:"fields"`
}

// Field is what is wrong with one field of the request.
type Field struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

// Error says in one line what is wrong and what to do: the fields that are wrong, or else
// the detail.
func (p *Problem) Error() string {
	var parts []string
	add := func(s string) {
		s = strings.TrimRight(strings.TrimSpace(s), ".")
		if s != "" && !strings.Contains(strings.Join(parts, "; "), s) {
			parts = append(parts, s)
		}
	}
	for _, f := range p.Fields {
		add(f.Name + ": " + f.Detail)
	}
	if len(parts) == 0 {
		add(cmp.Or(p.Detail, p.Title, http.StatusText(p.Status)))
		add(p.Do)
	}
	text := strings.Join(parts, "; ")
	if p.Status >= http.StatusInternalServerError && p.Instance != "" {
		text += " (" + p.Instance + ")"
	}
	return text
}

// code is the exit code for a problem's status.
func (p *Problem) code() int {
	switch p.Status {
	case http.StatusNotFound:
		return exit.NotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return exit.Denied
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return exit.Temporary
	}
	return exit.Failed
}

// Get reads path and decodes the JSON answer into out.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.do(ctx, http.MethodGet, path, nil, out)
}

// Post sends in as JSON to path, with an idempotency key of its own, and decodes the
// answer into out (nil: it is dropped). The node repeats the change while leadership
// moves. A refusal is a *Problem, with the exit code for its status.
func (c *Client) Post(ctx context.Context, path string, in, out any) error {
	return c.do(ctx, http.MethodPost, path, in, out)
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode a request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://node"+path, body)
	if err != nil {
		return fmt.Errorf("make a request: %w", err)
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Accept-Language", "en")
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", rand.Text())
	}
	response, err := c.http.Do(r)
	if err != nil {
		return c.explain(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the node's answer: %w", err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		p := &Problem{}
		if json.Unmarshal(data, p) != nil || p.Status == 0 {
			p = &Problem{Status: response.StatusCode, Title: http.StatusText(response.StatusCode)}
		}
		return &exit.Error{Code: p.code(), Err: p}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("read the node's answer to %s %s: %w; is it of the same version as this command?", method, path, err)
	}
	return nil
}

func (c *Client) explain(err error) error {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "dial" && strings.Contains(err.Error(), "permission denied"):
		return exit.Errorf(exit.Denied, "this user may not open %s; run the command as the user of the node (sudo -u tongban)", c.socket)
	case errors.As(err, &op) && op.Op == "dial":
		return exit.Errorf(exit.Temporary, "the node does not run (nobody answers at %s); start it with `tongban run`", c.socket)
	}
	return exit.Errorf(exit.Temporary, "ask the node: %w", err)
}
