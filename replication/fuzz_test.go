package replication

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// FuzzRecord: an entry that can be read, and recorded again, says the same.
func FuzzRecord(f *testing.F) {
	f.Add(SampleEntry())
	f.Fuzz(func(t *testing.T, b []byte) {
		first, again := recordAgain(b)
		if first == nil {
			return
		}
		second, _ := recordAgain(again)
		if !reflect.DeepEqual(first, second) {
			t.Fatalf("%+v came back as %+v", first, second)
		}
	})
}

// recordAgain reads an entry and records what it says; nil if it is damaged.
func recordAgain(b []byte) (said []any, again []byte) {
	e, err := decodeEntry(b)
	if err != nil {
		return nil, nil
	}
	said = []any{e.id, e.base, e.time}
	var r recorder
	open := false
	err = e.each(func(bool) error {
		if open {
			r.keep()
		}
		open = true
		r.begin()
		return nil
	}, func(s recorded) error {
		s.args = append([]any(nil), s.args...)
		said = append(said, s.sql, s.failure, s.rowid, s.changes)
		for _, a := range s.args {
			if n, ok := a.(float64); ok && n != n { // NaN: it differs from itself.
				a = "NaN"
			}
			said = append(said, a)
		}
		r.add(s)
		return nil
	})
	if err != nil {
		return nil, nil
	}
	if open {
		r.keep()
	}
	return said, r.entry(e.id, e.base, e.time).encode()
}

// FuzzFrames: whatever comes over a connection is read to its end as frames without a
// panic, and the frames are written as they were read.
func FuzzFrames(f *testing.F) {
	f.Add(appendHello(nil, helloFrame{from: "n1", to: "n2", hello: []byte("x")}))
	f.Add(appendFrame(appendFrame(nil, frame{kind: kindAppend, group: "a/main", seq: 7, payload: []byte("abc")}), frame{kind: kindFailure, seq: 8}))
	f.Add([]byte{0, 0, 0, 9, 2, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		var again []byte
		for {
			one, err := readFrame(r, 1<<16)
			if err != nil {
				break
			}
			again = appendFrame(again, one)
		}
		if !bytes.HasPrefix(b, again) {
			t.Fatalf("%x was written as %x", b, again)
		}
	})
}

// FuzzStored: a stored entry is what it was, or an error; a flipped bit is an error.
func FuzzStored(f *testing.F) {
	keys := newGroupKeys("a/main")
	for _, e := range []*raft.Log{
		{Index: 1, Term: 1, Type: raft.LogNoop},
		{Index: 1 << 40, Term: 9, Type: raft.LogCommand, Data: SampleEntry(), Extensions: []byte("x"), AppendedAt: time.Unix(5, 6)},
	} {
		f.Add(appendEntryBody(nil, e), uint64(e.Index), 3)
	}
	f.Fuzz(func(t *testing.T, body []byte, index uint64, bit int) {
		var e, again raft.Log
		if decodeEntryBody(body, &e) == nil {
			if err := decodeEntryBody(appendEntryBody(nil, &e), &again); err != nil || !reflect.DeepEqual(e, again) {
				t.Fatalf("%+v came back as %+v (%v)", e, again, err)
			}
		}
		key := keys.entry(index)
		if got, err := keys.index(key); err != nil || got != index {
			t.Fatalf("index %d came back as %d (%v)", index, got, err)
		}
		value := append([]byte{0, 0, 0, 0, entryFormat}, body...)
		seal(key, value)
		if got, err := unseal(key, value, entryFormat); err != nil || !bytes.Equal(got, body) {
			t.Fatalf("%x came back as %x (%v)", body, got, err)
		}
		flip := int(uint(bit) % uint(8*len(value)))
		value[flip/8] ^= 1 << (flip % 8)
		if _, err := unseal(key, value, entryFormat); err == nil {
			t.Fatalf("bit %d was flipped, and nobody noticed", flip)
		}
	})
}

// FuzzSplitSQL: the parts of a script are whole: each is one part for itself, SQLite finds
// no second statement in it, and together they are the script again.
func FuzzSplitSQL(f *testing.F) {
	for _, s := range []string{
		"SELECT 1; SELECT 2", "SELECT ';'; -- a ; b\nSELECT 2 /* ; */;",
		"CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END; SELECT 3;",
		`INSERT INTO "a;b" VALUES ([c;d], x'00')`, "EXPLAIN CREATE TEMP TRIGGER x BEGIN; END;", ";;;", "SELECT 1 -- end", "SELECT 'open",
	} {
		f.Add(s)
	}
	dir, err := os.MkdirTemp("", "fuzz")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = os.RemoveAll(dir) })
	f.Fuzz(func(t *testing.T, script string) {
		if strings.ContainsRune(script, 0) || len(script) > 4096 {
			return // SQLite's text ends at it; and the splitter is quadratic.
		}
		parts, err := SplitSQL(script)
		if err != nil {
			return
		}
		s := openSolo(t, t.TempDir())
		for _, part := range parts {
			if again, err := SplitSQL(part); err != nil || len(again) != 1 || again[0] != part {
				t.Fatalf("%q of %q is split into %q (%v)", part, script, again, err)
			}
			s.mu.Lock()
			statement, err := s.w.prepare(part, writing)
			if err == nil {
				s.w.release(part, writing, statement)
			}
			s.mu.Unlock()
			if errors.Is(err, ErrForbiddenSQL) && strings.Contains(err.Error(), "one call takes one statement") {
				t.Fatalf("%q of %q: %v", part, script, err)
			}
		}
		together := ""
		for _, part := range parts { // The last needs no semicolon, and may end in a comment.
			together += part + "\n;"
		}
		if again, err := SplitSQL(together); err != nil || len(again) != len(parts) {
			t.Fatalf("%q is split into %q, and together into %q (%v)", script, parts, again, err)
		}
	})
}

// FuzzSQL is the guard against the authorizer, and against itself: whatever SQL an update
// is allowed, another replica, at another time, with other random numbers, executes as
// well, with the same result; and nothing reaches what an update must not touch.
func FuzzSQL(f *testing.F) {
	for _, sql := range []string{
		"INSERT INTO t(v) VALUES (1)", "INSERT OR ROLLBACK INTO t(id) VALUES (1)", "UPDATE t SET v = random()",
		"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 9) INSERT INTO t(v) SELECT x FROM c",
		"CREATE TABLE x(a DEFAULT CURRENT_TIMESTAMP); INSERT INTO x DEFAULT VALUES; SELECT a FROM x",
		"CREATE TRIGGER y AFTER INSERT ON t BEGIN UPDATE t SET v = hex(randomblob(4)); END; INSERT INTO t(v) VALUES (datetime('now'))",
		"INSERT INTO t(id) VALUES (9223372036854775807)", "ATTACH ':memory:' AS o", "PRAGMA user_version = 3", "PRAGMA user_version",
		"CREATE VIRTUAL TABLE q USING fts4(a); INSERT INTO q VALUES ('x y'); DELETE FROM q", "ALTER TABLE t RENAME TO replication_t",
		"DELETE FROM replication_state", "INSERT INTO t(v) VALUES (last_insert_rowid() + changes())", "REPLACE INTO t SELECT 1, total_changes()",
		"INSERT INTO t(v) VALUES (1) RETURNING id, random()", "SAVEPOINT x", "CREATE TEMP TABLE x(a)", "ANALYZE", "REINDEX", "VACUUM",
		"INSERT INTO t(v) VALUES (strftime('%s')), (date('2000-01-01', 'localtime')), (printf('%!.20g', 1.0/3))",
		"CREATE INDEX i ON t(v COLLATE NOCASE); INSERT INTO t(v) VALUES (zeroblob(100)), (1e999), (-9223372036854775808)",
		"CREATE TABLE s(a, b GENERATED ALWAYS AS (random()))", "CREATE TABLE s(a CHECK (a < julianday())); INSERT INTO s VALUES (1)",
	} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, script string) {
		if len(script) > 4096 {
			return
		}
		parts, err := SplitSQL(script)
		if err != nil {
			return
		}
		leader, follower := openSolo(t, t.TempDir()), openSolo(t, t.TempDir())
		follower.engine.opts.Now = func() time.Time { return time.Now().Add(12345 * time.Hour) }
		var proposed [][]byte
		leader.hooks.beforePropose = func() {
			b := leader.pending
			proposed = append(proposed, b.rec.entry(b.id, b.base, b.time).encode())
		}
		soloUpdate(t, leader, `CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v)`)
		soloUpdate(t, leader, `INSERT INTO t(v) VALUES ('a'), ('b')`)
		_, accepted := leader.Update(t.Context(), func(tx *Tx) error {
			for _, part := range parts {
				if err := tx.Exec(part); err != nil && tx.broken != nil {
					return err
				}
			}
			return nil
		})
		for i, data := range proposed {
			follower.mu.Lock()
			follower.state.term = soloTerm
			follower.mu.Unlock()
			(&fsm{follower.DB}).Apply(&raft.Log{Type: raft.LogCommand, Index: uint64(i) + 1, Term: soloTerm, Data: data})
		}
		if err := errors.Join(leader.failure(), follower.failure()); err != nil {
			t.Fatalf("%q (%v) stopped a replica: %v", script, accepted, err)
		}
		one, _, err := leader.Checksum(t.Context())
		two, _, err2 := follower.Checksum(t.Context())
		if one != two || err != nil || err2 != nil {
			t.Fatalf("%q (%v) makes replicas differ (%v, %v)", script, accepted, err, err2)
		}
		untouched(t, leader, script, len(proposed))
	})
}

// untouched looks for what no update may have done.
func untouched(t *testing.T, s *Solo, script string, entries int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w.inTransaction() {
		t.Fatalf("%q left a transaction open", script)
	}
	for sql, want := range map[string]int64{
		`SELECT count(*) FROM pragma_database_list WHERE name NOT IN ('main', 'temp')`:   0,
		`SELECT count(*) FROM temp.sqlite_schema`:                                        0,
		`SELECT count(*) FROM replication_state`:                                         1,
		`SELECT applied FROM replication_state`:                                          int64(entries),
		`SELECT count(*) FROM sqlite_schema WHERE name LIKE 'replication\_%' ESCAPE '\'`: 1,
	} {
		var n int64
		if err := s.w.one(sql, &n); err != nil {
			t.Fatalf("%q, and then %s: %v", script, sql, err)
		}
		if n != want {
			t.Fatalf("%q: %s gives %d, want %d", script, sql, n, want)
		}
	}
}
