package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"tongban/node/config"
	"tongban/node/exit"
	"tongban/node/join"
	"tongban/node/trust"
	"tongban/replication"
)

const (
	// DefaultTokenValid is how long a join token can be used.
	DefaultTokenValid = 24 * time.Hour
	// MaxTokenValid bounds it.
	MaxTokenValid = 7 * 24 * time.Hour
)

// TokenRequest asks the admin socket for a join token: POST /node/token.
type TokenRequest struct {
	Valid string `json:"valid"` // A duration such as "24h"; empty: DefaultTokenValid.
}

// TokenReply is a join token, shown once.
type TokenReply struct {
	Token       string    `json:"token"`
	Fingerprint string    `json:"fingerprint"` // Of the division's authority.
	Expires     time.Time `json:"expires"`
}

// RemoveRequest asks the admin socket to take a node out: POST /node/remove.
type RemoveRequest struct {
	Node replication.NodeID `json:"node"`
}

// Problem is application/problem+json (RFC 9457) as the admin socket answers.
type Problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// adminHandler is what the admin socket serves: node verbs, and all else as the operator
// through the division's web.
func (n *Node) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /node/status", func(rw http.ResponseWriter, r *http.Request) {
		writeJSON(rw, http.StatusOK, n.Status(r.Context()))
	})
	mux.HandleFunc("GET /node/databases", func(rw http.ResponseWriter, r *http.Request) {
		list := n.databaseStatus()
		n.fillLag(r.Context(), n.peerStatus(n.now()), list)
		writeJSON(rw, http.StatusOK, list)
	})
	mux.HandleFunc("GET /node/list", func(rw http.ResponseWriter, _ *http.Request) {
		writeJSON(rw, http.StatusOK, n.book.Peers())
	})
	mux.HandleFunc("GET /node/profile", n.serveProfile)
	mux.HandleFunc("POST /node/token", n.serveToken)
	mux.HandleFunc("POST /node/remove", n.serveRemove)
	mux.HandleFunc("POST /node/verify", n.serveVerify(true))
	n.enrolAdmin(mux)
	n.queueAdmin(mux)
	if n.opts.Admin != nil {
		n.opts.Admin(n, mux)
	}
	mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
		w := n.web()
		if w == nil {
			problem(rw, http.StatusServiceUnavailable, "starting", "the node is still starting; try again in a moment")
			return
		}
		w.Admin().ServeHTTP(rw, r)
	})
	return mux
}

func problem(rw http.ResponseWriter, status int, reason, detail string) {
	rw.Header().Set("Content-Type", "application/problem+json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(Problem{Status: status, Title: http.StatusText(status), Detail: detail, Reason: reason})
}

// answer writes an order's outcome.
func (n *Node) reply(rw http.ResponseWriter, err error, out any) {
	var refusal *join.Refusal
	switch {
	case err == nil:
		writeJSON(rw, http.StatusOK, out)
	case !errors.As(err, &refusal):
		n.log.Error("answer the admin socket", "err", err)
		problem(rw, http.StatusInternalServerError, "internal", "the node met an error; see its log")
	case refusal.Reason == join.Unavailable:
		problem(rw, http.StatusServiceUnavailable, string(refusal.Reason), refusal.Error())
	case refusal.Reason == reasonNoNode, refusal.Reason == reasonNoDead:
		problem(rw, http.StatusNotFound, string(refusal.Reason), refusal.Error())
	default:
		problem(rw, http.StatusConflict, string(refusal.Reason), refusal.Error())
	}
}

func (n *Node) serveToken(rw http.ResponseWriter, r *http.Request) {
	var in TokenRequest
	valid := DefaultTokenValid
	err := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxOrder)).Decode(&in)
	if err == nil && in.Valid != "" {
		valid, err = time.ParseDuration(in.Valid)
	}
	if err != nil || valid < time.Second || valid > MaxTokenValid {
		problem(rw, http.StatusBadRequest, "bad_validity", fmt.Sprintf("a token is valid for a time such as 24h, at most %s", MaxTokenValid))
		return
	}
	addresses := []string{advertised(n.cfg.Peer)}
	for _, p := range n.book.Peers() {
		if p.ID != n.cfg.Node {
			addresses = append(addresses, p.Address)
		}
	}
	token, err := join.NewToken(trust.Fingerprint(n.keys.Authority), addresses)
	out := TokenReply{Token: token.String(), Fingerprint: token.Fingerprint, Expires: n.now().Add(valid)}
	if err == nil {
		err = n.command(r.Context(), orderToken, tokenOrder{Hash: token.Hash(), Expires: out.Expires}, nil)
	}
	n.reply(rw, err, out)
}

func (n *Node) serveRemove(rw http.ResponseWriter, r *http.Request) {
	var in RemoveRequest
	if err := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxOrder)).Decode(&in); err != nil {
		problem(rw, http.StatusBadRequest, "malformed", "the request is no JSON")
		return
	}
	n.reply(rw, n.command(r.Context(), orderRemove, removeOrder(in), nil), in)
}

// listenAdmin binds the admin socket, which only this user may open. A socket that nobody
// listens on is left by a node that was killed, and is replaced.
func listenAdmin(cfg config.Config) (net.Listener, error) {
	path, moved := cfg.AdminSocket()
	if moved {
		if _, err := config.MakeRuntimeDir(); err != nil {
			return nil, exit.Configf("make the admin socket: %w", err)
		}
	} else if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, exit.Configf("make the folder of the admin socket: %w", err)
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = conn.Close()
		return nil, exit.Errorf(exit.Failed, "this node is running already (somebody answers at %s); stop it first", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, exit.Configf("replace the old admin socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, exit.Configf("open the admin socket: %w; is the folder writable, and on a file system that has sockets?", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, exit.Configf("protect the admin socket: %w", err)
	}
	return l, nil
}
