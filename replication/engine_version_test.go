package replication

import (
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

func TestAnOlderProgramStopsAtWhatANewerOneExecuted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, db := openOne(t, dir)
	update(t, db, `CREATE TABLE t(v)`)
	if db.state.engine != engineVersion() {
		t.Errorf("the file says %d", db.state.engine)
	}
	newer := entry{base: db.state.lastcmd, engine: engineVersion() + 1000}
	(&fsm{db}).Apply(&raft.Log{Index: db.state.applied + 1, Term: db.state.term, Data: newer.encode()})
	const says = "install the newer version of the program on this node too"
	if err := db.failure(); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("an entry: %v", err)
	}
	older := entry{base: db.state.lastcmd, engine: engineVersion() - 1000}
	if err := checkEngine(older.engine); err != nil {
		t.Errorf("an entry of an older program: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}

	other := t.TempDir()
	e, db = openOne(t, other)
	update(t, db, `CREATE TABLE t(v)`)
	Direct(t, db, `UPDATE replication_state SET engine = engine + 1`)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e, err := Open(Options{Dir: other, Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.OpenDB(db.ID(), DBOptions{}); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("a file: %v", err)
	}
}
