package appliance

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"tongban/node"
	"tongban/node/exit"
	"tongban/replication"
	"tongban/service"
	"tongban/tenancy"
)

const (
	// stageFolder is where copies of the databases lie while a backup is made, below the
	// data folder: on the same disk, so that its space is known before.
	stageFolder = "backup.partial"
	// openWait bounds the wait for a tenant's database that was created just before.
	openWait = 10 * time.Second
	// busyWait bounds the wait for the end of the backup before.
	busyWait = 5 * time.Second
	// leaderWait bounds, for all databases together, the wait for leaders that do not answer:
	// an election takes a second or two.
	leaderWait = 5 * time.Second
	// openPause is how often one and the other are looked for.
	openPause = 50 * time.Millisecond
	// spareDisk must stay free besides the copies: the node goes on writing.
	spareDisk = 256 << 20
	maxNote   = 64 << 10
)

// Serve adds the appliance's verbs to a node's admin socket (node.Options.Admin):
//
//	GET  /node/backup  an unencrypted tar of the division: the manifest, the foundation,
//	                   the databases. Whoever may open the socket may read them anyway.
//	POST /node/backup  says that the backup was written; a node.BackupNote
func Serve(n *node.Node, mux *http.ServeMux) {
	s := &server{node: n, busy: make(chan struct{}, 1), patience: busyWait}
	mux.HandleFunc("GET /node/backup", s.backup)
	mux.HandleFunc("POST /node/backup", s.note)
}

type server struct {
	node     *node.Node
	busy     chan struct{} // Full: a backup is being made. Each needs the databases' size on the disk.
	patience time.Duration // With one that is about to end: its client has all, and goes on.
}

func (s *server) backup(rw http.ResponseWriter, r *http.Request) {
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	case <-time.After(s.patience):
		refuse(rw, http.StatusConflict, "busy", "another backup is being made; wait until it is done")
		return
	}
	dir := filepath.Join(s.node.Config().Data, stageFolder)
	defer os.RemoveAll(dir)
	m, foundation, err := s.stage(r.Context(), dir)
	if err != nil {
		var known *exit.Error
		switch {
		case !errors.As(err, &known):
			refuse(rw, http.StatusInternalServerError, "backup", fmt.Sprintf("the copies cannot be made: %v", err))
		case known.Code == exit.Temporary:
			refuse(rw, http.StatusServiceUnavailable, "backup", known.Error())
		default:
			refuse(rw, http.StatusInternalServerError, "backup", known.Error())
		}
		return
	}
	rw.Header().Set("Content-Type", "application/x-tar")
	if err := sendStage(rw, dir, m, foundation); err != nil {
		panic(http.ErrAbortHandler) // The status is sent: only a cut connection says that it failed.
	}
}

// stage copies all databases.
//
// The order is the point: the division database first, the tenants after it. Its cursors
// say how far each tenant's feed was folded. A tenant's copy that is older than a cursor
// would lack rows that the division already shows, and the next change of that tenant
// would be taken for an old one. A tenant's copy that is newer is only folded further.
// For the same reason each tenant's replica here first catches up with its leader.
func (s *server) stage(ctx context.Context, dir string) (Manifest, node.Foundation, error) {
	m := Manifest{Format: Format, Division: s.node.Site(), At: s.node.Now().UTC(), Node: s.node.Config().Node, Version: node.Version()}
	var none node.Foundation
	if err := os.RemoveAll(dir); err != nil { // A node that was killed may have left one.
		return m, none, fmt.Errorf("make room for the copies: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return m, none, fmt.Errorf("make room for the copies: %w", err)
	}
	foundation, err := s.node.Foundation(ctx)
	if err != nil {
		return m, none, err
	}
	leaders := time.Now().Add(leaderWait)
	division, look, err := s.copy(ctx, dir, tenancy.DivisionDatabase, leaders)
	if err != nil {
		return m, none, err
	}
	m.Databases = append(m.Databases, division)
	ids, err := placedIn(filepath.Join(dir, fileName(division.ID)))
	if err != nil {
		return m, none, err
	}
	if err := s.roomFor(dir, ids); err != nil {
		return m, none, err
	}
	for _, id := range ids {
		d, tenant, err := s.copy(ctx, dir, id, leaders)
		if err != nil {
			return m, none, err
		}
		if at := look.Cursors[tenant.source(id)]; at > tenant.Feed {
			return m, none, exit.Errorf(exit.Temporary, "the replica of %s on this node lacks changes that the division has (feed %d of %d), and no leader can be asked for them; make the backup on another node, or when this one has caught up",
				id, tenant.Feed, at)
		}
		m.Databases = append(m.Databases, d)
	}
	return m, foundation, nil
}

// fileName is where the copy of a database lies in the stage.
func fileName(id replication.DatabaseID) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:8]) + ".db"
}

func placedIn(division string) ([]replication.DatabaseID, error) {
	f, err := replication.OpenFile(division)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return tenancy.ReadDatabases(f)
}

func (s *server) roomFor(dir string, ids []replication.DatabaseID) error {
	need := uint64(spareDisk)
	for _, id := range ids {
		if info, err := os.Stat(filepath.Join(s.node.Config().Data, "db", filepath.FromSlash(string(id)), "state.db")); err == nil {
			need += uint64(info.Size())
		}
	}
	free, err := freeBytes(dir)
	if err == nil && free < need {
		return exit.Errorf(exit.Failed, "a backup needs %s of free space in %s for its copies, and %s are free; make room and try again",
			bytesText(int64(need)), s.node.Config().Data, bytesText(int64(free)))
	}
	return err
}

// copy copies one database at one index and looks into the copy. It waits for a leader
// until the time leaders.
func (s *server) copy(ctx context.Context, dir string, id replication.DatabaseID, leaders time.Time) (Database, inside, error) {
	d := Database{ID: id}
	db, err := s.open(ctx, id)
	if err != nil {
		return d, inside{}, err
	}
	if d.Current, err = s.catchUp(ctx, db, leaders); err != nil {
		return d, inside{}, fmt.Errorf("catch up with the leader of %s: %w", id, err)
	}
	name := filepath.Join(dir, fileName(id))
	if d.Index, err = db.Backup(ctx, name); err != nil {
		return d, inside{}, err
	}
	look, err := inspect(id, name)
	if err != nil {
		return d, look, fmt.Errorf("check the copy of %s: %w", id, err)
	}
	if len(look.Faults) > 0 {
		return d, look, exit.Errorf(exit.Failed, "the replica of %s on this node is damaged (%s); make the backup on another node, and rebuild this one", id, look.Faults[0])
	}
	d.Newest, d.Checksum, d.Rows, d.Audit = look.Newest, look.Checksum, look.Rows, look.Audit.Head
	d.Size, d.SHA256, err = hashFile(name)
	return d, look, err
}

// catchUp waits until this node's replica has what the leader has; false when no leader
// answered until the time.
func (s *server) catchUp(ctx context.Context, db *replication.DB, until time.Time) (bool, error) {
	for {
		current, err := s.node.CatchUp(ctx, db)
		if current || err != nil || time.Now().After(until) {
			return current, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(openPause):
		}
	}
}

// open waits for a database that is being opened.
func (s *server) open(ctx context.Context, id replication.DatabaseID) (*replication.DB, error) {
	waiting, cancel := context.WithTimeout(ctx, openWait)
	defer cancel()
	for {
		if db, ok := s.node.Replica(id); ok {
			if st := db.Status(); st.Err != "" {
				return nil, exit.Errorf(exit.Failed, "the replica of %s on this node has stopped (%s); make the backup on another node", id, st.Err)
			}
			return db, nil
		}
		select {
		case <-waiting.Done():
			return nil, exit.Errorf(exit.Temporary, "the database %s is not open on this node; make the backup on another node, or try again in a moment", id)
		case <-time.After(openPause):
		}
	}
}

func sendStage(w io.Writer, dir string, m Manifest, f node.Foundation) error {
	out := tar.NewWriter(w)
	if err := writeJSONEntry(out, entryManifest, m); err != nil {
		return err
	}
	if err := writeJSONEntry(out, entryFoundation, f); err != nil {
		return err
	}
	for _, d := range m.Databases {
		if err := sendFile(out, d, filepath.Join(dir, fileName(d.ID))); err != nil {
			return err
		}
	}
	return out.Close()
}

func sendFile(out *tar.Writer, d Database, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return writeEntry(out, d.entry(), d.Size, f)
}

func hashFile(name string) (size int64, sum string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return size, hex.EncodeToString(h.Sum(nil)), err
}

func (s *server) note(rw http.ResponseWriter, r *http.Request) {
	var note node.BackupNote
	if err := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxNote)).Decode(&note); err != nil {
		refuse(rw, http.StatusBadRequest, "malformed", "the request is no JSON")
		return
	}
	if err := s.node.NoteBackup(r.Context(), note); err != nil {
		refuse(rw, http.StatusServiceUnavailable, "unavailable", err.Error())
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(note) // The client went away: nobody to tell.
}

func refuse(rw http.ResponseWriter, status int, reason, detail string) {
	rw.Header().Set("Content-Type", "application/problem+json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(node.Problem{Status: status, Title: http.StatusText(status), Detail: detail, Reason: reason})
}

// lastBackup reads when the newest backup was made; zero: never.
func lastBackup(q service.Querier) (node.BackupNote, error) {
	note, err := node.LastBackup(q)
	if errors.Is(err, replication.ErrNoRows) {
		return node.BackupNote{}, nil
	}
	return note, err
}
