package node

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tongban/division"
	"tongban/node/config"
	"tongban/node/exit"
	"tongban/node/join"
	"tongban/node/trust"
	"tongban/replication"
	"tongban/service"
	"tongban/tenancy"
)

// Foundation is what a division rests on besides its databases. It holds the key of the
// authority in the clear: it may only be written into something encrypted.
type Foundation struct {
	Code      string `json:"code"`
	Level     string `json:"level"`
	Authority []byte `json:"authority"` // Certificate, DER.
	Key       []byte `json:"key"`       // Private key of the authority, PEM. Secret.
	Recovery  string `json:"recovery"`  // Recipient of the recovery kit.
}

// Foundation opens the key of the division's authority with the node's own. A node that is
// starting refuses (exit code 75).
func (n *Node) Foundation(ctx context.Context) (Foundation, error) {
	f := Foundation{Code: n.cfg.Division.Code, Level: n.cfg.Division.Level,
		Authority: n.keys.Authority.Raw, Recovery: n.keys.Recovery}
	sealed, db := n.keys.Sealed, n.division()
	if db == nil {
		return f, exit.Errorf(exit.Temporary, "the node is still starting; try again in a moment")
	}
	err := db.View(ctx, replication.Local, func(v *service.View) error {
		kept, err := tenancy.Secret(v, secretAuthority)
		if err == nil {
			sealed = kept // Sealed anew whenever a box joins.
		}
		return err
	})
	if err != nil && !errors.Is(err, replication.ErrNoRows) {
		return f, err
	}
	authority, err := n.keys.OpenAuthority(sealed)
	if err != nil {
		return f, err
	}
	f.Key, err = authority.KeyPEM()
	return f, err
}

// RestoreOptions say where and as which node a division is restored.
type RestoreOptions struct {
	Dir        string // Folder of the configuration; must exist.
	Foundation Foundation
	Node       replication.NodeID // A name that the division never had.
	Addresses
	Now func() time.Time // time.Now.
}

// Restored is the first node of a restored division. Its databases are still to be put in
// place, and [Restored.Enter] to be called in the division database.
type Restored struct {
	Config config.Config

	self        tenancy.Node
	certificate *x509.Certificate
	sealed      []byte
	recovery    string
}

// Restore makes the folder of the first node of a restored division: new keys, a new
// certificate of the old authority, a new gossip key (so that no box from before can meet
// the new ones) and a configuration.
func Restore(o RestoreOptions) (*Restored, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	f := o.Foundation
	level, err := division.ParseLevel(f.Level)
	if err != nil {
		return nil, fmt.Errorf("read the backup's division: %w", err)
	}
	cfg, err := newConfig(o.Dir, o.Node, division.Ref{Level: level, Code: division.Code(f.Code)}, o.Addresses)
	if err != nil {
		return nil, err
	}
	if err := freePorts(&cfg); err != nil {
		return nil, err
	}
	keys, authority, err := keysUnder(cfg, f)
	if err != nil {
		return nil, err
	}
	if keys.Certificate, err = authority.Issue(cfg.Node, keys.Key.Public(), o.Now()); err != nil {
		return nil, err
	}
	if err := keys.Check(o.Now()); err != nil {
		return nil, exit.Errorf(exit.Failed, "the division's authority cannot vouch for this box: %w; is the clock right?", err)
	}
	if keys.Gossip, err = trust.NewGossipKey(); err != nil {
		return nil, err
	}
	r := &Restored{Config: cfg, certificate: keys.Certificate, sealed: keys.Sealed, recovery: keys.Recovery,
		self: tenancy.Node{ID: cfg.Node, Address: advertised(cfg.Peer), Web: webURL(cfg), Recipient: keys.Identity.Recipient().String()}}
	return r, settle(cfg, keys, mark{}, []join.Peer{peerFrom(r.self)}, nil)
}

// keysUnder makes a node's keys below an authority that exists.
func keysUnder(cfg config.Config, f Foundation) (*trust.Keys, *trust.Authority, error) {
	keys, err := newKeys(cfg)
	if err != nil {
		return nil, nil, err
	}
	if keys.Authority, err = x509.ParseCertificate(f.Authority); err != nil {
		return nil, nil, fmt.Errorf("read the certificate of the authority: %w", err)
	}
	authority, err := trust.LoadAuthority(keys.Division, keys.Authority, f.Key)
	if err != nil {
		return nil, nil, err
	}
	keys.Recovery = f.Recovery
	keys.Sealed, err = trust.Seal(f.Key, keys.Identity.Recipient().String(), keys.Recovery)
	return keys, authority, err
}

// Enter makes the node the only one in the division's records.
func (r *Restored) Enter(tx *service.Tx) error {
	if err := tenancy.Refound(tx, r.self); err != nil {
		return err
	}
	if err := tenancy.RecordCertificate(tx, ledgerRow(r.self.ID, r.certificate)); err != nil {
		return err
	}
	if err := tenancy.PutSecret(tx, secretAuthority, r.sealed); err != nil {
		return err
	}
	return tenancy.PutSecret(tx, secretRecovery, []byte(r.recovery))
}

// Site is the division that the node serves.
func (n *Node) Site() service.Site { return n.site }

// Config is the node's configuration.
func (n *Node) Config() config.Config { return n.cfg }

// Now is the node's clock.
func (n *Node) Now() time.Time { return n.now() }

// Replica returns this node's replica of a database; false while it is not open.
func (n *Node) Replica(id replication.DatabaseID) (*replication.DB, bool) { return n.engine.DB(id) }

// CatchUp waits until this node's replica has all that the database's leader had applied
// when it was asked. It returns false when no leader answered: then nobody can say whether
// this replica is behind.
func (n *Node) CatchUp(ctx context.Context, db *replication.DB) (bool, error) {
	leader, ok := db.Leader()
	switch {
	case !ok:
		return false, nil
	case leader == n.cfg.Node:
		return db.IsLeader(), nil
	}
	asking, cancel := context.WithTimeout(ctx, askPeers)
	defer cancel()
	told, err := n.askApplied(asking, leader)
	at, ok := told[db.ID()]
	if err != nil || !ok {
		return false, nil
	}
	return true, db.WaitApplied(ctx, at)
}

// BackupNote says that a backup was made.
type BackupNote struct {
	At        time.Time          `json:"at"` // Of the division database's copy.
	Node      replication.NodeID `json:"node"`
	Databases int                `json:"databases"`
	Bytes     int64              `json:"bytes"`  // Of the file.
	SHA256    string             `json:"sha256"` // Of the file.
	Current   bool               `json:"current"`
}

// metaBackup is the key of the last BackupNote in the division database.
const metaBackup = "backup.last"

// NoteBackup records a backup in the division database and its audit.
func (n *Node) NoteBackup(ctx context.Context, note BackupNote) error {
	if err := n.keepNote(note); err != nil {
		n.log.Warn("keep the note of the newest backup", "err", err)
	}
	return n.command(ctx, orderBackup, note, nil)
}

// noteBackup carries out orderBackup.
func (n *Node) noteBackup(ctx context.Context, from replication.NodeID, in json.RawMessage) (any, error) {
	var note BackupNote
	if err := json.Unmarshal(in, &note); err != nil {
		return nil, err
	}
	note.Node = from
	text, err := json.Marshal(note)
	if err != nil {
		return nil, err
	}
	return nil, n.division().Update(ctx, func(tx *service.Tx) error {
		if err := tx.Exec(`INSERT OR REPLACE INTO service_meta (key, value) VALUES (?, ?)`, metaBackup, string(text)); err != nil {
			return fmt.Errorf("note the backup: %w", err)
		}
		return tx.Record(service.Event{What: "appliance.backed_up", Subject: note.SHA256, Who: operator,
			Detail: map[string]string{"node": string(from)}})
	})
}

// LastBackup reads the note of the newest backup; replication.ErrNoRows when there never
// was one.
func LastBackup(q service.Querier) (note BackupNote, err error) {
	var text string
	if err := q.QueryRow(`SELECT value FROM service_meta WHERE key = ?`, metaBackup).Scan(&text); err != nil {
		return note, err
	}
	return note, json.Unmarshal([]byte(text), &note)
}
