package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/federation/leaf"
	"tongban/replication"
	"tongban/service"
)

const (
	// askLinesEvery is how soon a node that leads a database learns that another one has lost
	// or found a line.
	askLinesEvery = time.Second
	// askLinesPatience bounds that question.
	askLinesPatience = 2 * time.Second
)

// lines are this node's lines to the neighbouring divisions: its own, and those of the
// division's other nodes, which it asks over the node port. It implements
// federation.Wire.
type lines struct {
	node *Node
	leaf *leaf.Server

	mu      sync.Mutex
	via     map[division.Ref][]replication.NodeID // Which other nodes have a line, as they last said.
	changed chan struct{}
}

func newLines(n *Node, own *leaf.Server) *lines {
	return &lines{node: n, leaf: own, via: map[division.Ref][]replication.NodeID{}, changed: make(chan struct{})}
}

// Call implements federation.Wire: over this node's own line, else over that of another
// node of the division.
func (l *lines) Call(ctx context.Context, to division.Ref, kind string, body []byte) ([]byte, error) {
	err := federation.ErrUnreachable
	if l.leaf.Connected(to) {
		var out []byte
		if out, err = l.leaf.Call(ctx, to, kind, body); !errors.Is(err, federation.ErrUnreachable) {
			return out, err
		}
	}
	for _, other := range l.others(to) {
		var out []byte
		if out, err = l.callVia(ctx, other, to, kind, body); !errors.Is(err, federation.ErrUnreachable) {
			return out, err
		}
	}
	return nil, err
}

// others are the division's other nodes, those first that are known to have a line.
func (l *lines) others(to division.Ref) []replication.NodeID {
	l.mu.Lock()
	list := slices.Clone(l.via[to])
	l.mu.Unlock()
	for _, n := range l.node.tree.Nodes() {
		if n.ID != l.node.cfg.Node && !slices.Contains(list, n.ID) {
			list = append(list, n.ID)
		}
	}
	return list
}

func (l *lines) callVia(ctx context.Context, other replication.NodeID, to division.Ref, kind string, body []byte) ([]byte, error) {
	query := url.Values{"to": {to.String()}, "kind": {kind}}
	return l.node.send(ctx, other, "/node/line?"+query.Encode(), body)
}

// Connected implements federation.Wire.
func (l *lines) Connected(to division.Ref) bool {
	if l.leaf.Connected(to) {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.via[to]) > 0
}

// Changed implements federation.Wire.
func (l *lines) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *lines) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// follow passes on what this node's lines do.
func (l *lines) follow(ctx context.Context) error {
	for {
		changed := l.leaf.Changed()
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			l.mu.Lock()
			l.wake()
			l.mu.Unlock()
		}
	}
}

// ask learns which lines the division's other nodes have, while this node leads a database:
// what waits for a line runs where its database is led.
func (l *lines) ask(ctx context.Context) error {
	tick := time.NewTicker(askLinesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var via map[division.Ref][]replication.NodeID
		if l.node.leads() {
			via = l.ofOthers(ctx)
		}
		l.mu.Lock()
		if !maps.EqualFunc(via, l.via, slices.Equal) {
			l.via = via
			l.wake()
		}
		l.mu.Unlock()
	}
}

// leads reports whether this node leads any database.
func (n *Node) leads() bool {
	return slices.ContainsFunc(n.engine.Databases(), func(id replication.DatabaseID) bool {
		db, ok := n.engine.DB(id)
		return ok && db.IsLeader()
	})
}

// ofOthers asks the division's other nodes which lines they have.
func (l *lines) ofOthers(ctx context.Context) map[division.Ref][]replication.NodeID {
	ctx, cancel := context.WithTimeout(ctx, askLinesPatience)
	defer cancel()
	via := map[division.Ref][]replication.NodeID{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, n := range l.node.tree.Nodes() {
		if n.ID == l.node.cfg.Node {
			continue
		}
		wg.Go(func() {
			refs, err := l.node.linesOf(ctx, n.ID)
			if err != nil {
				return // It is down: it has no lines.
			}
			mu.Lock()
			defer mu.Unlock()
			for _, r := range refs {
				via[r] = append(via[r], n.ID)
			}
		})
	}
	wg.Wait()
	for _, nodes := range via {
		slices.Sort(nodes)
	}
	return via
}

func (n *Node) linesOf(ctx context.Context, other replication.NodeID) (refs []division.Ref, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://node/node/lines", nil)
	if err != nil {
		return nil, err
	}
	response, err := n.Forward(ctx, other, r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask node %s for its lines: %s", other, response.Status)
	}
	return refs, json.NewDecoder(io.LimitReader(response.Body, maxOrder)).Decode(&refs)
}

// serveLines is GET /node/lines of the node port: which neighbours this node has a line to.
func (n *Node) serveLines(rw http.ResponseWriter, _ *http.Request) {
	refs := []division.Ref{}
	if l := n.wire(); l != nil {
		refs = append(refs, l.leaf.Neighbours()...)
	}
	writeJSON(rw, http.StatusOK, refs)
}

// serveLine is POST /node/line of the node port: another node of the division sends over
// this node's line.
func (n *Node) serveLine(rw http.ResponseWriter, r *http.Request) {
	to, err := division.ParseRef(r.URL.Query().Get("to"))
	l := n.wire()
	if err != nil || l == nil {
		answerHop(rw, nil, federation.ErrUnreachable)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, federation.MaxMessage))
	if err != nil {
		answerHop(rw, nil, fmt.Errorf("read the request: %w", err))
		return
	}
	ctx, cancel := waits(r)
	defer cancel()
	out, err := l.leaf.Call(ctx, to, r.URL.Query().Get("kind"), body)
	answerHop(rw, out, err)
}

// hopError is how an error crosses the node port.
type hopError struct {
	Unreachable bool              `json:"unreachable,omitempty"`
	Retry       bool              `json:"retry,omitempty"` // Not applied: this node does not lead.
	Late        bool              `json:"late,omitempty"`  // There was no answer in time.
	Code        service.Code      `json:"code,omitempty"`
	Reason      string            `json:"reason,omitempty"`
	Params      map[string]any    `json:"params,omitempty"`
	Fields      map[string]string `json:"fields,omitempty"`
	Text        string            `json:"text,omitempty"`
}

// waitHeader says for how many milliseconds the other node waits for the answer: a
// connection tells that it has given up, but not for how long it will not.
const waitHeader = "Tongban-Wait"

// waits is the context of a request of another node, which ends when that one gives up.
func waits(r *http.Request) (context.Context, context.CancelFunc) {
	ms, err := strconv.ParseInt(r.Header.Get(waitHeader), 10, 64)
	if err != nil || ms <= 0 || ms > maxWait.Milliseconds() {
		ms = maxWait.Milliseconds()
	}
	return context.WithTimeout(r.Context(), time.Duration(ms)*time.Millisecond)
}

// maxWait is how long a neighbour is waited for at most: as long as package leaf does.
const maxWait = 5 * time.Minute

func answerHop(rw http.ResponseWriter, out []byte, err error) {
	var refusal *service.Error
	switch {
	case err == nil:
		rw.Header().Set("Content-Type", "application/octet-stream")
		_, _ = rw.Write(out) // The other node went away: nobody to tell.
	case errors.Is(err, federation.ErrUnreachable):
		writeJSON(rw, http.StatusBadGateway, hopError{Unreachable: true})
	case errors.Is(err, replication.ErrNotLeader), errors.Is(err, replication.ErrOverloaded):
		writeJSON(rw, http.StatusBadGateway, hopError{Retry: true})
	case errors.As(err, &refusal):
		writeJSON(rw, http.StatusBadGateway, hopError{Code: refusal.Code, Reason: refusal.Reason, Params: refusal.Params, Fields: refusal.Fields})
	default:
		writeJSON(rw, http.StatusBadGateway, hopError{Late: errors.Is(err, context.DeadlineExceeded), Text: err.Error()})
	}
}

// errElsewhere: the other node does not lead, and has done nothing.
var errElsewhere = errors.New("node: the other node does not lead")

// send posts a body to another node of the division and returns its answer. Errors:
// federation.ErrUnreachable, errElsewhere, *service.Error; anything else: nobody knows.
func (n *Node) send(ctx context.Context, to replication.NodeID, path string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://node"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if end, ok := ctx.Deadline(); ok {
		r.Header.Set(waitHeader, strconv.FormatInt(max(1, time.Until(end).Milliseconds()), 10))
	}
	response, err := n.Forward(ctx, to, r)
	if errors.Is(err, errUnreachable) {
		return nil, federation.ErrUnreachable
	}
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	out, err := io.ReadAll(io.LimitReader(response.Body, federation.MaxMessage+maxOrder))
	if err != nil {
		return nil, fmt.Errorf("read the answer of node %s: %w", to, err)
	}
	return readHop(to, response.StatusCode, out)
}

// readHop undoes answerHop.
func readHop(to replication.NodeID, status int, out []byte) ([]byte, error) {
	if status == http.StatusOK {
		return out, nil
	}
	var e hopError
	switch err := json.Unmarshal(out, &e); {
	case err != nil:
		return nil, fmt.Errorf("node %s answers with status %d", to, status)
	case e.Unreachable:
		return nil, federation.ErrUnreachable
	case e.Retry:
		return nil, errElsewhere
	case e.Reason != "":
		return nil, &service.Error{Code: e.Code, Reason: e.Reason, Params: e.Params, Fields: e.Fields}
	}
	if e.Late {
		return nil, fmt.Errorf("node %s: %s: %w", to, e.Text, context.DeadlineExceeded)
	}
	return nil, fmt.Errorf("node %s: %s", to, e.Text)
}
