package tenancy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"tongban/replication"
	"tongban/service"
	"tongban/tenancy"
)

// TestTheLedgerBelievesTheNewestAndTheOneInUse: a node that asks again and again, because it
// cannot store what it gets, is believed by what it shows, and fills nothing.
func TestTheLedgerBelievesTheNewestAndTheOneInUse(t *testing.T) {
	ten := start(t)
	update := func(fn func(tx *service.Tx) error) {
		t.Helper()
		if err := ten.Division().Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	record := func(node replication.NodeID, serial string, valid time.Duration) {
		update(func(tx *service.Tx) error {
			if err := tenancy.NoteShown(tx, node, "in use"); err != nil {
				return err
			}
			return tenancy.RecordCertificate(tx, tenancy.Certificate{Serial: serial, Node: node, NotAfter: tx.Now().Add(valid), DER: []byte(serial)})
		})
	}
	update(func(tx *service.Tx) error {
		return tenancy.AddNode(tx, tenancy.Node{ID: "n7", Address: "127.0.0.1:7", Web: "http://localhost:7"})
	})
	count := func(where string) (n int) {
		t.Helper()
		if err := ten.Division().View(t.Context(), replication.Local, func(v *service.View) error {
			return v.QueryRow(`SELECT count(*) FROM tenancy_certificate WHERE ` + where).Scan(&n)
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	record("n7", "in use", time.Hour)
	record("n8", "of another", time.Hour)
	for i := range 50 {
		record("n7", fmt.Sprintf("lost %02d", i), time.Hour)
	}
	var nodes []tenancy.Node
	if err := ten.Division().View(t.Context(), replication.Local, func(v *service.View) (err error) {
		nodes, err = tenancy.ReadNodes(v)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(nodes) != 2 {
		t.Fatalf("there are %d nodes", len(nodes))
	}
	for _, one := range nodes {
		for _, serial := range []string{"in use", "lost 49"} {
			sum := sha256.Sum256([]byte(serial))
			if one.ID == "n7" && !strings.Contains(one.Certificates, hex.EncodeToString(sum[:])) {
				t.Errorf("the certificate %q is not believed", serial)
			}
		}
	}
	if n := count(`node = 'n7'`); n > 40 {
		t.Errorf("the ledger has %d certificates of one node", n)
	}
	if count(`serial = 'in use'`) != 1 || count(`serial = 'of another'`) != 1 {
		t.Error("the ledger has lost a certificate that is in use")
	}
	record("n8", "over", -time.Minute)
	record("n8", "next", time.Hour)
	if n := count(`serial = 'over'`); n != 0 {
		t.Error("a certificate whose time is over is still in the ledger")
	}
}
