package databases

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"tongban/replication"
	"tongban/service"
	"tongban/tenancy"
)

// Refusals about keys. Their messages are in messages/.
var (
	ErrKeyUnknown = service.Refuse(service.NotFound, "databases.key_unknown")
	ErrBadName    = service.Refuse(service.Invalid, "databases.bad_name").Field("name", "databases.bad_name")
	ErrKeysFull   = service.Refuse(service.Unprocessable, "databases.keys_full")
)

const (
	keyPrefix   = "tbk_"
	keyBytes    = 20  // 160 bits.
	maxKeyName  = 60  // Characters.
	maxKeys     = 100 // Of one database, without those that were revoked.
	keySequence = "databases_keys"
)

// keyText is how a key is written: no digit that is taken for a letter.
var keyText = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// Key is a key of a database as it is listed.
type Key struct {
	ID       string                 `json:"id"`
	Database replication.DatabaseID `json:"database"`
	Name     string                 `json:"name,omitempty"`
	ReadOnly bool                   `json:"read_only"`
	Created  time.Time              `json:"created"`
	Revoked  *time.Time             `json:"revoked,omitempty"`
	Secret   string                 `json:"key,omitempty"` // Only in the answer to its creation.
}

// NewSecret returns a random key, to be given to CreateKey.
func NewSecret() string {
	var random [keyBytes]byte
	rand.Read(random[:])
	return keyPrefix + keyText.EncodeToString(random[:])
}

// hashOf is what is stored of a key, which is random itself: no work factor is needed.
func hashOf(secret string) [sha256.Size]byte {
	return sha256.Sum256([]byte("tongban database key\x00" + secret))
}

// CreateKey enters a key of a database. Refusals: ErrBadName, ErrKeysFull,
// tenancy.ErrDatabaseAbsent.
func CreateKey(tx *service.Tx, id replication.DatabaseID, name string, readOnly bool, secret string) (Key, error) {
	hash := hashOf(secret)
	k := Key{ID: hex.EncodeToString(hash[:6]), Database: id, Name: strings.TrimSpace(name), ReadOnly: readOnly, Created: tx.Now(), Secret: secret}
	if !utf8.ValidString(k.Name) || utf8.RuneCountInString(k.Name) > maxKeyName {
		return k, ErrBadName.With("max", maxKeyName)
	}
	if err := tenancy.FindApplication(tx, id); err != nil {
		return k, err
	}
	var have int
	if err := tx.QueryRow(`SELECT count(*) FROM databases_key WHERE database = ? AND revoked IS NULL`, string(id)).Scan(&have); err != nil {
		return k, err
	}
	if have >= maxKeys {
		return k, ErrKeysFull.With("max", maxKeys)
	}
	if err := tx.Exec(`INSERT INTO databases_key (id, database, name, hash, read_only, created) VALUES (?, ?, ?, ?, ?, ?)`,
		k.ID, string(id), k.Name, hash[:], readOnly, tx.Now()); err != nil {
		return k, fmt.Errorf("enter a key of %s: %w", id, err)
	}
	return k, nil
}

// RevokeKey ends a key: every node that has applied the change refuses it. Refusal:
// ErrKeyUnknown.
func RevokeKey(tx *service.Tx, id string) (Key, error) {
	res, err := tx.ExecResult(`UPDATE databases_key SET revoked = ? WHERE id = ? AND revoked IS NULL`, tx.Now(), id)
	if err != nil {
		return Key{}, fmt.Errorf("revoke key %s: %w", id, err)
	}
	if res.RowsAffected == 0 {
		return Key{}, ErrKeyUnknown.With("id", id)
	}
	if _, err := tx.Next(keySequence); err != nil {
		return Key{}, err
	}
	list, err := readKeys(tx, `id = ?`, id)
	if err != nil {
		return Key{}, err
	}
	return list[0], nil
}

// ReadKeys returns the keys of a database, the oldest first, those that were revoked among
// them.
func ReadKeys(q service.Querier, id replication.DatabaseID) ([]Key, error) {
	return readKeys(q, `database = ?`, string(id))
}

func readKeys(q service.Querier, where string, arg any) ([]Key, error) {
	rows, err := q.Query(`SELECT id, database, name, read_only, created, revoked FROM databases_key WHERE `+where+` ORDER BY created, id`, arg)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	defer rows.Close()
	list := []Key{}
	for rows.Next() {
		var k Key
		var database string
		if err := rows.Scan(&k.ID, &database, &k.Name, &k.ReadOnly, &k.Created, &k.Revoked); err != nil {
			return nil, err
		}
		k.Database = replication.DatabaseID(database)
		list = append(list, k)
	}
	return list, rows.Err()
}

// grant is what a key opens.
type grant struct {
	database replication.DatabaseID
	readOnly bool
}

// errNoGrant: the credentials open nothing. Why is nobody's business.
var errNoGrant = errors.New("databases: no key of this database")

// lookUp finds what a key opens, and how many keys were revoked by then, ever.
func lookUp(ctx context.Context, division *service.DB, id replication.DatabaseID, secret string) (g grant, revocations int64, err error) {
	hash := hashOf(secret)
	err = division.View(ctx, replication.Local, func(v *service.View) error {
		if revocations, err = readRevocations(v); err != nil {
			return err
		}
		var database string
		err := v.QueryRow(`SELECT database, read_only FROM databases_key WHERE hash = ? AND revoked IS NULL`, hash[:]).Scan(&database, &g.readOnly)
		g.database = replication.DatabaseID(database)
		if errors.Is(err, replication.ErrNoRows) || err == nil && g.database != id {
			return errNoGrant
		}
		return err
	})
	return g, revocations, err
}

func readRevocations(v *service.View) (n int64, err error) {
	err = v.QueryRow(`SELECT coalesce((SELECT last FROM service_sequence WHERE name = ?), 0)`, keySequence).Scan(&n)
	return n, err
}
