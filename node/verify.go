package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"tongban/replication"
)

// VerifyRequest asks for the replicas of a database to be compared: POST /node/verify of the
// admin socket, and of the node port of the node that leads it.
type VerifyRequest struct {
	Database replication.DatabaseID `json:"database"`
}

// Verify compares the replicas of a database, on whichever node leads it.
func (n *Node) Verify(ctx context.Context, id replication.DatabaseID) (v replication.Verification, err error) {
	db, ok := n.engine.DB(id)
	if !ok {
		return v, fmt.Errorf("the database %s is not open on this node", id)
	}
	leader, known := db.Leader()
	switch {
	case leader == n.cfg.Node:
		return db.Verify(ctx)
	case !known:
		return v, fmt.Errorf("the database %s has no leader: %w", id, replication.ErrNotLeader)
	}
	body, err := json.Marshal(VerifyRequest{id})
	if err != nil {
		return v, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://node/node/verify", bytes.NewReader(body))
	if err != nil {
		return v, err
	}
	response, err := n.Forward(ctx, leader, r)
	if err != nil {
		return v, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		var p Problem
		_ = json.NewDecoder(io.LimitReader(response.Body, maxTold)).Decode(&p)
		return v, fmt.Errorf("ask the leader %s: %s", leader, p.Detail)
	}
	return v, json.NewDecoder(io.LimitReader(response.Body, maxTold)).Decode(&v)
}

// serveVerify is POST /node/verify. forward: this node may ask the one that leads.
func (n *Node) serveVerify(forward bool) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		var in VerifyRequest
		if err := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxOrder)).Decode(&in); err != nil {
			problem(rw, http.StatusBadRequest, "malformed", "the request is no JSON")
			return
		}
		db, ok := n.engine.DB(in.Database)
		if !ok {
			problem(rw, http.StatusNotFound, "no_database", fmt.Sprintf("the database %s is not open on this node", in.Database))
			return
		}
		var v replication.Verification
		var err error
		if forward {
			v, err = n.Verify(r.Context(), in.Database)
		} else {
			v, err = db.Verify(r.Context())
		}
		if err != nil {
			problem(rw, http.StatusServiceUnavailable, "not_verified", err.Error())
			return
		}
		writeJSON(rw, http.StatusOK, v)
	}
}

// fileBackup keeps the note of the newest backup that was made on this node, beside the
// databases: it is wanted when they cannot be read.
const fileBackup = "backup.json"

func (n *Node) keepNote(note BackupNote) error {
	note.Node = n.cfg.Node
	text, err := json.MarshalIndent(note, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(n.cfg.Data, fileBackup)
	if err := os.WriteFile(path+".part", append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}

// newestBackup names the newest backup that was made on this node; "" if there is none.
func (n *Node) newestBackup() string {
	b, err := os.ReadFile(filepath.Join(n.cfg.Data, fileBackup))
	var note BackupNote
	if err != nil || json.Unmarshal(b, &note) != nil {
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			n.log.Warn("read the note of the newest backup", "err", err)
		}
		return ""
	}
	return fmt.Sprintf("of %s (SHA-256 %.16s…)", note.At.Format(time.RFC3339), note.SHA256)
}

// others are the other nodes of the division.
func (n *Node) others() []replication.NodeID {
	var out []replication.NodeID
	for _, p := range n.book.Peers() {
		if p.ID != n.cfg.Node {
			out = append(out, p.ID)
		}
	}
	return out
}
