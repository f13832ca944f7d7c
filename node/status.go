package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"tongban/node/members"
	"tongban/replication"
	"tongban/service"
	"tongban/tenancy"
)

const (
	// warnCertificate is when the certificate's end becomes a problem to report.
	warnCertificate = 30 * 24 * time.Hour
	// warnFree is the share of free disk below which that is a problem to report.
	warnFree = 0.05
	// warnLag is how many entries a replica may lag, in a moment of load, without that
	// being a problem to report.
	warnLag = 10_000
	// askPeers bounds how long status waits for what other nodes have applied.
	askPeers = 1500 * time.Millisecond
	maxTold  = 1 << 20
)

// Status is the condition of one node, as `tongban status --json` prints it.
type Status struct {
	Node        replication.NodeID `json:"node"`
	Division    service.Site       `json:"division"`
	Version     string             `json:"version"`
	PID         int                `json:"pid"`
	Started     time.Time          `json:"started"`
	Uptime      int64              `json:"uptime_seconds"`
	Clock       time.Time          `json:"clock"`
	Web         string             `json:"web"`
	Programs    string             `json:"databases_url,omitempty"` // Of application databases; empty: no listener.
	Peer        string             `json:"peer"`
	Data        string             `json:"data"`
	Certificate CertificateStatus  `json:"certificate"`
	Disk        DiskStatus         `json:"disk"`
	Peers       []PeerStatus       `json:"peers"`
	Newest      time.Time          `json:"newest_entry"` // Of the division database here; zero: it cannot be read now.
	Backup      *BackupNote        `json:"last_backup"`  // As this node knows; null: there was none.
	Ready       bool               `json:"ready"`        // The division database has a leader and the newest schema.
	Databases   []DatabaseStatus   `json:"databases"`
	Problems    []string           `json:"problems"` // Empty: all is well.
}

// CertificateStatus is about the node's TLS certificate.
type CertificateStatus struct {
	NotAfter time.Time `json:"not_after"`
	Days     int       `json:"days"` // Left.
}

// DiskStatus is about the file system of the data folder.
type DiskStatus struct {
	Free  uint64 `json:"free_bytes"`
	Total uint64 `json:"total_bytes"`
}

// PeerStatus is about another node of the division.
type PeerStatus struct {
	Node        replication.NodeID `json:"node"`
	Address     string             `json:"address"`
	Web         string             `json:"web"`
	Up          bool               `json:"up"`
	LastContact time.Time          `json:"last_contact"` // Zero: none since the start.
	Gossip      *members.Member    `json:"gossip,omitempty"`
}

// DatabaseStatus is about this node's replica of a database.
type DatabaseStatus struct {
	replication.Status
	Lag *int64 `json:"lag"` // Entries that the leader has applied and this node has not; null: the leader did not say.
}

// Version returns the program's version: the module's, else the commit it was built of.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "0.0.0-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return "0.0.0-dev"
}

// Status returns the node's condition. It asks the other nodes what they have applied,
// for at most askPeers.
func (n *Node) Status(ctx context.Context) Status {
	now := n.now()
	s := Status{
		Node: n.cfg.Node, Division: n.site, Version: Version(), PID: os.Getpid(), Started: n.started,
		Uptime: int64(now.Sub(n.started).Seconds()), Clock: now, Web: webURL(n.cfg), Programs: n.databasesURL(), Peer: advertised(n.cfg.Peer), Data: n.cfg.Data,
		Certificate: CertificateStatus{NotAfter: n.keys.TLS().Leaf.NotAfter,
			Days: int(n.keys.TLS().Leaf.NotAfter.Sub(now).Hours() / 24)},
		Peers: []PeerStatus{}, Databases: []DatabaseStatus{}, Problems: []string{},
	}
	s.Disk, _ = diskOf(n.cfg.Data)
	s.Peers = n.peerStatus(now)
	s.Databases = n.databaseStatus()
	s.Ready = n.isReady(ctx)
	n.fillNewest(ctx, &s)
	n.fillLag(ctx, s.Peers, s.Databases)
	s.Problems = s.problems()
	return s
}

// glance is how long status looks whether the division database is ready: it is, or not.
const glance = 100 * time.Millisecond

func (n *Node) isReady(ctx context.Context) bool {
	n.mu.RLock()
	tree := n.tree
	n.mu.RUnlock()
	if tree == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	return tree.ReadyDivision(ctx) == nil
}

// fillNewest reads this node's replica of the division database.
func (n *Node) fillNewest(ctx context.Context, s *Status) {
	db, ok := n.engine.DB(tenancy.DivisionDatabase)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	err := db.View(ctx, replication.Local, func(v *replication.View) error {
		s.Newest = v.Newest()
		var tables int
		if err := v.QueryRow(`SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'service_meta'`).Scan(&tables); err != nil || tables == 0 {
			return err
		}
		note, err := LastBackup(v)
		if errors.Is(err, replication.ErrNoRows) {
			return nil
		}
		s.Backup = &note
		return err
	})
	if err != nil {
		s.Newest, s.Backup = time.Time{}, nil
		n.log.Debug("read the division database for the status", "err", err)
	}
}

func diskOf(dir string) (DiskStatus, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return DiskStatus{}, err
	}
	return DiskStatus{Free: st.Bavail * uint64(st.Bsize), Total: st.Blocks * uint64(st.Bsize)}, nil
}

func (n *Node) peerStatus(now time.Time) []PeerStatus {
	gossip := map[replication.NodeID]members.Member{}
	if pool := n.gossip(); pool != nil {
		for _, m := range pool.Members() {
			gossip[m.ID] = m
		}
	}
	list := []PeerStatus{}
	for _, p := range n.book.Peers() {
		if p.ID == n.cfg.Node {
			continue
		}
		s := PeerStatus{Node: p.ID, Address: p.Address, Web: p.Web, LastContact: n.port.lastHeard(p.ID)}
		if _, up := n.engine.PeerHello(p.ID); up {
			s.Up, s.LastContact = true, now
		}
		if m, ok := gossip[p.ID]; ok {
			s.Gossip = &m
		}
		list = append(list, s)
	}
	return list
}

func (n *Node) databaseStatus() []DatabaseStatus {
	list := []DatabaseStatus{}
	for _, id := range n.engine.Databases() {
		if db, ok := n.engine.DB(id); ok {
			list = append(list, DatabaseStatus{Status: db.Status()})
		}
	}
	return list
}

// fillLag asks the other nodes what they have applied. Who answers is up: two nodes of
// which neither leads anything have no connection between them until somebody asks.
func (n *Node) fillLag(ctx context.Context, peers []PeerStatus, list []DatabaseStatus) {
	ctx, cancel := context.WithTimeout(ctx, askPeers)
	defer cancel()
	var wg sync.WaitGroup
	answers := make([]map[replication.DatabaseID]replication.Index, len(peers))
	for i, p := range peers {
		wg.Go(func() {
			told, err := n.askApplied(ctx, p.Node)
			if err != nil {
				n.log.Debug("ask a node what it has applied", "node", p.Node, "err", err)
				return
			}
			answers[i] = told
		})
	}
	wg.Wait()
	applied := map[replication.NodeID]map[replication.DatabaseID]replication.Index{}
	for i, told := range answers {
		if told != nil {
			peers[i].Up, peers[i].LastContact = true, n.now()
			applied[peers[i].Node] = told
		}
	}
	for i, d := range list {
		at, ok := applied[d.Leader][d.Database]
		switch {
		case d.Leader == n.cfg.Node:
			list[i].Lag = new(int64)
		case ok:
			lag := max(0, int64(at)-int64(d.Applied))
			list[i].Lag = &lag
		}
	}
}

func (n *Node) askApplied(ctx context.Context, to replication.NodeID) (map[replication.DatabaseID]replication.Index, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://node/node/applied", nil)
	if err != nil {
		return nil, err
	}
	response, err := n.Forward(ctx, to, r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var told map[replication.DatabaseID]replication.Index
	return told, json.NewDecoder(io.LimitReader(response.Body, maxTold)).Decode(&told)
}

// serveApplied is GET /node/applied of the node port.
func (n *Node) serveApplied(rw http.ResponseWriter, _ *http.Request) {
	told := map[replication.DatabaseID]replication.Index{}
	for _, id := range n.engine.Databases() {
		if db, ok := n.engine.DB(id); ok {
			told[id] = db.Applied()
		}
	}
	writeJSON(rw, http.StatusOK, told)
}

// problems says what needs a look, one sentence each.
func (s Status) problems() []string {
	list := []string{}
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for _, p := range s.Peers {
		if !p.Up {
			say("node %s (%s) is not connected", p.Node, p.Address)
		}
	}
	for _, d := range s.Databases {
		switch {
		case d.Role == "rebuilding":
			say("database %s is being rebuilt here from another node: %s", d.Database, d.Err)
		case d.Err != "":
			say("database %s has stopped here: %s", d.Database, d.Err)
		case d.Held != "":
			say("database %s takes no changes here: %s", d.Database, d.Held)
		case d.Leader == "":
			say("database %s has no leader: nothing can be changed in it", d.Database)
		case d.Lag != nil && *d.Lag > warnLag:
			say("database %s lags %d entries behind its leader", d.Database, *d.Lag)
		}
		if d.Doubt != "" {
			say("%s", d.Doubt)
		}
	}
	if !s.Ready {
		say("the division database is not ready yet")
	}
	if time.Duration(s.Certificate.Days)*24*time.Hour < warnCertificate {
		say("the certificate of this node ends in %d days", s.Certificate.Days)
	}
	switch {
	case s.Disk.Total > 0 && s.Disk.Free < minFree:
		say("the disk of %s is full: %d MiB are free, and below %d MiB this node takes no changes; make room, it goes on by itself", s.Data, s.Disk.Free>>20, minFree>>20)
	case s.Disk.Total > 0 && float64(s.Disk.Free) < warnFree*float64(s.Disk.Total):
		say("the disk of %s is almost full: %d MiB are free", s.Data, s.Disk.Free>>20)
	}
	return list
}
