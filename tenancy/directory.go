package tenancy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"tongban/replication"
	"tongban/service"
)

// DivisionTenant is the reserved tenant of the division database.
const DivisionTenant = "_division"

// DivisionDatabase is the id of the division database.
const DivisionDatabase replication.DatabaseID = DivisionTenant + "/main"

// MainDatabase returns the id of a tenant's main database.
func MainDatabase(slug string) replication.DatabaseID {
	return replication.DatabaseID(slug + "/main")
}

// Refusals. Their messages are in messages/.
var (
	ErrBadSlug      = service.Refuse(service.Invalid, "tenancy.bad_slug").Field("slug", "tenancy.bad_slug")
	ErrBadName      = service.Refuse(service.Invalid, "tenancy.bad_name").Field("name", "tenancy.bad_name")
	ErrSlugTaken    = service.Refuse(service.Conflict, "tenancy.slug_taken").Field("slug", "tenancy.slug_taken")
	ErrNameTaken    = service.Refuse(service.Conflict, "tenancy.name_taken").Field("name", "tenancy.name_taken")
	ErrFull         = service.Refuse(service.Unprocessable, "tenancy.full")
	ErrTokenUnknown = service.Refuse(service.Forbidden, "tenancy.token_unknown")
	ErrTokenSpent   = service.Refuse(service.Forbidden, "tenancy.token_spent")
	ErrTokenExpired = service.Refuse(service.Forbidden, "tenancy.token_expired")
	ErrNodeTaken    = service.Refuse(service.Conflict, "tenancy.node_taken")
	ErrNodeUnknown  = service.Refuse(service.NotFound, "tenancy.node_unknown")
)

const (
	maxTenants   = 999 // Three digits of a receipt number.
	maxNameRunes = 60
	// directoryVersion is the sequence that every change of the directory moves.
	directoryVersion = "directory"
)

var slugPattern = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$`)

// Node is one box of the division.
type Node struct {
	ID        replication.NodeID `json:"id"`
	Address   string             `json:"address"`   // host:port of its node port.
	Web       string             `json:"web"`       // URL that people use.
	Recipient string             `json:"recipient"` // age recipient of its node.key.
	Joined    time.Time          `json:"joined"`
	// Certificates are the newest that were issued to it: their fingerprints (SHA-256, hex),
	// divided by blanks. What else the authority's key has signed is not the node's.
	Certificates string `json:"certificates"`
}

// maxCertificates bounds the certificates of one node that are believed: the present one,
// those of joins that died, and one that replaces it.
const maxCertificates = 4

// keptCertificates bounds the rows of one node in the ledger: a box whose clock is a year
// ahead renews at each look. The audit has them all.
const keptCertificates = 32

// CreateTenant enters a tenant and its main database, placed on every active node.
// codes are its unified social credit codes, checked by the caller. Refusals:
// ErrBadSlug, ErrBadName, ErrSlugTaken, ErrNameTaken, ErrFull.
func CreateTenant(tx *service.Tx, slug, name string, codes []string) (service.Tenant, error) {
	t := service.Tenant{Slug: slug, Name: strings.TrimSpace(name), State: "active"}
	if !slugPattern.MatchString(slug) {
		return t, ErrBadSlug.With("slug", slug)
	}
	if !goodName(t.Name) {
		return t, ErrBadName.With("max", maxNameRunes)
	}
	if err := checkFree(tx, t); err != nil {
		return t, err
	}
	number, err := tx.Next("tenant")
	if err != nil {
		return t, err
	}
	if number > maxTenants {
		return t, ErrFull.With("max", maxTenants)
	}
	t.Number = int(number)
	if err := tx.Exec(`INSERT INTO tenancy_tenant (slug, name, number, state, created) VALUES (?, ?, ?, ?, ?)`,
		t.Slug, t.Name, t.Number, t.State, tx.Now()); err != nil {
		return t, fmt.Errorf("create tenant %s: %w", slug, err)
	}
	for _, code := range codes {
		if err := tx.Exec(`INSERT OR IGNORE INTO tenancy_code (tenant, code) VALUES (?, ?)`, slug, code); err != nil {
			return t, err
		}
	}
	if err := placeDatabase(tx, MainDatabase(slug), slug); err != nil {
		return t, fmt.Errorf("place database of %s: %w", slug, err)
	}
	return t, touchDirectory(tx)
}

// goodName reports whether a name without the blanks around it can be a tenant's: nothing in
// it that is not seen, but changes what is.
func goodName(name string) bool {
	n := utf8.RuneCountInString(name)
	return n > 0 && n <= maxNameRunes && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) })
}

func checkFree(q service.Querier, t service.Tenant) error {
	var slugs, names int
	if err := q.QueryRow(`SELECT count(*) FILTER (WHERE slug = ?), count(*) FILTER (WHERE name = ?) FROM tenancy_tenant`,
		t.Slug, t.Name).Scan(&slugs, &names); err != nil {
		return err
	}
	switch {
	case slugs > 0:
		return ErrSlugTaken.With("slug", t.Slug)
	case names > 0:
		return ErrNameTaken.With("name", t.Name)
	}
	return nil
}

func placeDatabase(tx *service.Tx, id replication.DatabaseID, slug string) error {
	founders, err := foundersNow(tx)
	if err != nil {
		return err
	}
	return tx.Exec(`INSERT INTO tenancy_database (id, tenant, founders, created) VALUES (?, ?, ?, ?)`,
		string(id), slug, founders, tx.Now())
}

func touchDirectory(tx *service.Tx) error {
	_, err := tx.Next(directoryVersion)
	return err
}

// ReadTenants returns all tenants by number.
func ReadTenants(q service.Querier) ([]service.Tenant, error) {
	rows, err := q.Query(`SELECT slug, name, number, state FROM tenancy_tenant ORDER BY number`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []service.Tenant
	for rows.Next() {
		var t service.Tenant
		if err := rows.Scan(&t.Slug, &t.Name, &t.Number, &t.State); err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, rows.Err()
}

// ReadCodes returns the unified social credit codes of each tenant, by slug.
func ReadCodes(q service.Querier) (map[string][]string, error) {
	rows, err := q.Query(`SELECT tenant, code FROM tenancy_code ORDER BY tenant, code`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string][]string{}
	for rows.Next() {
		var slug, code string
		if err := rows.Scan(&slug, &code); err != nil {
			return nil, err
		}
		out[slug] = append(out[slug], code)
	}
	return out, rows.Err()
}

// ReadNodes returns the active nodes by id.
func ReadNodes(q service.Querier) ([]Node, error) {
	certificates, err := readCertificates(q)
	if err != nil {
		return nil, err
	}
	rows, err := q.Query(`SELECT id, address, web, recipient, joined FROM tenancy_node WHERE state = 'active' ORDER BY id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Node
	for rows.Next() {
		var n Node
		var id string
		if err := rows.Scan(&id, &n.Address, &n.Web, &n.Recipient, &n.Joined); err != nil {
			return nil, err
		}
		n.ID = replication.NodeID(id)
		n.Certificates = strings.Join(certificates[id], " ")
		list = append(list, n)
	}
	return list, rows.Err()
}

// readCertificates returns the fingerprints of each node's newest certificates, as they were
// issued or last shown.
func readCertificates(q service.Querier) (map[string][]string, error) {
	rows, err := q.Query(`SELECT node, der FROM tenancy_certificate ORDER BY node, max(issued, coalesce(shown, 0)) DESC, serial`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string][]string{}
	for rows.Next() {
		var node string
		var der []byte
		if err := rows.Scan(&node, &der); err != nil {
			return nil, err
		}
		if sum := sha256.Sum256(der); len(out[node]) < maxCertificates {
			out[node] = append(out[node], hex.EncodeToString(sum[:]))
		}
	}
	return out, rows.Err()
}

// AddNode enters a node; a node that was removed may not come back under its old name.
func AddNode(tx *service.Tx, n Node) error {
	var have int
	if err := tx.QueryRow(`SELECT count(*) FROM tenancy_node WHERE id = ?`, string(n.ID)).Scan(&have); err != nil {
		return err
	}
	if have > 0 {
		return ErrNodeTaken.With("node", string(n.ID))
	}
	if err := tx.Exec(`INSERT INTO tenancy_node (id, address, web, recipient, joined, state) VALUES (?, ?, ?, ?, ?, 'active')`,
		string(n.ID), n.Address, n.Web, n.Recipient, tx.Now()); err != nil {
		return fmt.Errorf("add node %s: %w", n.ID, err)
	}
	return touchDirectory(tx)
}

// MoveNode records a node's new addresses; nothing when they are the same.
func MoveNode(tx *service.Tx, id replication.NodeID, address, web string) error {
	n, err := tx.ExecResult(`UPDATE tenancy_node SET address = ?, web = ? WHERE id = ? AND (address <> ? OR web <> ?)`,
		address, web, string(id), address, web)
	if err != nil || n.RowsAffected == 0 {
		return err
	}
	return touchDirectory(tx)
}

// RemoveNode takes a node out of the division; its replicas are removed by each
// database's leader, and its certificate is refused from then on.
func RemoveNode(tx *service.Tx, id replication.NodeID) error {
	n, err := tx.ExecResult(`UPDATE tenancy_node SET state = 'removed' WHERE id = ? AND state = 'active'`, string(id))
	if err != nil {
		return fmt.Errorf("remove node %s: %w", id, err)
	}
	if n.RowsAffected == 0 {
		return ErrNodeUnknown.With("node", string(id))
	}
	return touchDirectory(tx)
}

// MintJoinToken enters a one-time token by its hash.
func MintJoinToken(tx *service.Tx, hash []byte, expires time.Time) error {
	return tx.Exec(`INSERT INTO tenancy_token (hash, expires) VALUES (?, ?)`, hash, expires)
}

// CheckJoinToken looks whether a token can be used. Refusals: ErrTokenUnknown,
// ErrTokenSpent, ErrTokenExpired.
func CheckJoinToken(q service.Querier, hash []byte) error {
	var expires time.Time
	var spentBy *string
	err := q.QueryRow(`SELECT expires, spent_by FROM tenancy_token WHERE hash = ?`, hash).Scan(&expires, &spentBy)
	switch {
	case errors.Is(err, replication.ErrNoRows):
		return ErrTokenUnknown
	case err != nil:
		return err
	case spentBy != nil:
		return ErrTokenSpent.With("node", *spentBy)
	case q.Now().After(expires):
		return ErrTokenExpired.With("expired", expires)
	}
	return nil
}

// SpendJoinToken uses a token up for a node. Refusals: those of CheckJoinToken.
func SpendJoinToken(tx *service.Tx, hash []byte, by replication.NodeID) error {
	if err := CheckJoinToken(tx, hash); err != nil {
		return err
	}
	return tx.Exec(`UPDATE tenancy_token SET spent_at = ?, spent_by = ? WHERE hash = ?`, tx.Now(), string(by), hash)
}

// PutSecret keeps a blob that is already encrypted to those who may read it.
func PutSecret(tx *service.Tx, name string, value []byte) error {
	return tx.Exec(`INSERT OR REPLACE INTO tenancy_secret (name, value) VALUES (?, ?)`, name, value)
}

// Secret returns what PutSecret kept, or replication.ErrNoRows.
func Secret(q service.Querier, name string) ([]byte, error) {
	var value []byte
	err := q.QueryRow(`SELECT value FROM tenancy_secret WHERE name = ?`, name).Scan(&value)
	return value, err
}

// Certificate is one row of the ledger of issued certificates.
type Certificate struct {
	Serial   string
	Node     replication.NodeID
	NotAfter time.Time
	DER      []byte
}

// NoteShown keeps the certificate believed that a node shows while it asks for another: one
// that it never gets, or cannot store, must not take the place of that.
func NoteShown(tx *service.Tx, n replication.NodeID, serial string) error {
	if err := tx.Exec(`UPDATE tenancy_certificate SET shown = ? WHERE node = ? AND serial = ?`, tx.Now(), string(n), serial); err != nil {
		return fmt.Errorf("note which certificate node %s shows: %w", n, err)
	}
	return nil
}

// RecordCertificate enters an issued certificate in the ledger, and takes out those whose
// time is over, which prove nothing any more; from then on the node is
// believed by it.
func RecordCertificate(tx *service.Tx, c Certificate) error {
	if err := tx.Exec(`DELETE FROM tenancy_certificate WHERE not_after < ?`, tx.Now()); err != nil {
		return fmt.Errorf("forget certificates whose time is over: %w", err)
	}
	if err := tx.Exec(`INSERT INTO tenancy_certificate (serial, node, not_after, issued, der) VALUES (?, ?, ?, ?, ?)`,
		c.Serial, string(c.Node), c.NotAfter, tx.Now(), c.DER); err != nil {
		return fmt.Errorf("enter a certificate of node %s: %w", c.Node, err)
	}
	if err := tx.Exec(`DELETE FROM tenancy_certificate WHERE node = ?1 AND serial NOT IN (SELECT serial FROM tenancy_certificate
		WHERE node = ?1 ORDER BY max(issued, coalesce(shown, 0)) DESC, serial LIMIT ?2)`, string(c.Node), keptCertificates); err != nil {
		return fmt.Errorf("forget old certificates of node %s: %w", c.Node, err)
	}
	return touchDirectory(tx)
}
