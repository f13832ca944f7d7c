// Package members knows the other nodes of the division: the address book, which follows
// the directory in the division database and is kept in a file because it is needed before
// any database is open, and the gossip pool, which is a hint for status and addresses.
// Who belongs to the division is decided by the directory alone.
package members

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"tongban/node/exit"
	"tongban/node/join"
	"tongban/node/trust"
	"tongban/replication"
)

// Book is the address book. Its methods may be called concurrently.
type Book struct {
	file string

	mu     sync.Mutex
	page   page
	listen func(removed []replication.NodeID)
}

type page struct {
	Peers  []join.Peer `json:"peers"`  // By id; this node too.
	Gossip []string    `json:"gossip"` // Last known gossip addresses.
}

// OpenBook reads the address book from its file; a missing file is an empty book.
func OpenBook(file string) (*Book, error) {
	b := &Book{file: file}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, exit.Configf("read the address book: %w", err)
	}
	if err := json.Unmarshal(data, &b.page); err != nil {
		return nil, exit.Configf("%s cannot be read (%w); copy it from another node", file, err)
	}
	return b, nil
}

// OnRemoval calls fn, outside the book's lock, with the nodes that a Set took out.
func (b *Book) OnRemoval(fn func(removed []replication.NodeID)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listen = fn
}

// Set replaces the peers and, if they differ, writes the file.
func (b *Book) Set(peers []join.Peer) error {
	peers = slices.SortedFunc(slices.Values(peers), func(a, c join.Peer) int { return cmp.Compare(a.ID, c.ID) })
	b.mu.Lock()
	var removed []replication.NodeID
	for _, p := range b.page.Peers {
		if !slices.ContainsFunc(peers, func(q join.Peer) bool { return q.ID == p.ID }) {
			removed = append(removed, p.ID)
		}
	}
	var err error
	if !slices.Equal(peers, b.page.Peers) {
		b.page.Peers = peers
		err = b.write()
	}
	listen := b.listen
	b.mu.Unlock()
	if listen != nil && len(removed) > 0 {
		listen(removed)
	}
	return err
}

// SetGossip replaces the gossip addresses and, if they differ, writes the file.
func (b *Book) SetGossip(addresses []string) error {
	addresses = slices.Sorted(slices.Values(addresses))
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Equal(addresses, b.page.Gossip) {
		return nil
	}
	b.page.Gossip = addresses
	return b.write()
}

func (b *Book) write() error {
	data, err := json.MarshalIndent(b.page, "", "\t")
	if err != nil {
		return fmt.Errorf("write the address book: %w", err)
	}
	return trust.WriteFile(b.file, append(data, '\n'), 0o600)
}

// Peers returns all peers by id, this node too.
func (b *Book) Peers() []join.Peer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.page.Peers)
}

// Gossip returns the last known gossip addresses.
func (b *Book) Gossip() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.page.Gossip)
}

// Lookup returns one peer.
func (b *Book) Lookup(n replication.NodeID) (join.Peer, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.page.Peers {
		if p.ID == n {
			return p, true
		}
	}
	return join.Peer{}, false
}

// Believes reports whether n is a node of the division and the certificate with the
// fingerprint one that was issued to it. Of a node without any in the book, which is only the first one
// until its founding is entered, each certificate of the authority is believed.
func (b *Book) Believes(n replication.NodeID, fingerprint string) bool {
	p, ok := b.Lookup(n)
	return ok && (p.Certificates == "" || slices.Contains(strings.Fields(p.Certificates), fingerprint))
}
