package replication

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"github.com/mattn/go-sqlite3"
)

// The driver opens the file; statements go through shim.c, which the driver's own layer
// cannot replace: it converts columns by their declared type (a DATETIME of microseconds
// comes out wrong), stops INSERT … RETURNING at its first row, calls Go for each question
// of the authorizer, and does not show deferred foreign keys.

// mode says what the authorizer lets through; the values are those of shim.h.
type mode int

const (
	internal mode = iota // This package's own statements, and recorded ones.
	writing              // A closure's statements.
	reading              // Queries of closures and views.
)

const (
	maxCachedStatements = 128              // Prepared statements a connection.
	maxCachedSQL        = 16 * 1024        // Bytes of the text of one.
	busyTimeout         = 10 * time.Second // Only recovery and checkpoints ever hold a lock.
	fileTimeout         = time.Second      // Of a file that nobody should have open.
)

// conn is one SQLite connection. It is not safe for concurrent use, but for interrupt.
type conn struct {
	raw   *sqlite3.SQLiteConn
	db    *C.sqlite3
	auth  *C.tb_auth
	stmts map[stmtKey]*stmt
	clock uint64 // Ticks at each use; the statement of the oldest tick is evicted.

	damaged func(err error) // Hears of damage; nil: nobody.

	mu     sync.Mutex // Guards closed against interrupt.
	closed bool
}

type stmtKey struct {
	sql  string
	mode mode
}

// stmt is a prepared statement; it belongs to its connection.
type stmt struct {
	p        *C.sqlite3_stmt
	mode     mode
	params   int
	readonly bool
	schema   bool // Changes the schema.
	used     uint64
	busy     bool
	cols     []C.tb_value
}

// Kinds of connection.
const (
	writerConn = iota // The one that changes the file.
	readerConn        // Beside a writer: views, copies and checkpoints.
	fileConn          // Of a file that nobody has open.
	copyConn          // Of a closed file, beside which nothing is written.
)

// openConn opens the database at path: WAL mode, foreign keys on, no checkpoint by itself.
func openConn(path string, kind int) (*conn, error) {
	if err := startSQLite(); err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "file", Path: path}
	patience := busyTimeout
	if kind == fileConn {
		patience = fileTimeout
	}
	q := url.Values{"vfs": {C.TB_VFS}, "_mutex": {"no"}, "_busy_timeout": {fmt.Sprint(patience.Milliseconds())}}
	switch kind {
	case writerConn:
		q.Set("_synchronous", "NORMAL")
		q.Set("_foreign_keys", "1")
	case readerConn:
		q.Set("mode", "rw")
		q.Set("_query_only", "1")
	case fileConn:
		q.Set("mode", "ro")
		q.Set("_query_only", "1")
	case copyConn:
		q.Set("mode", "ro")
		q.Set("immutable", "1")
	}
	if (mutants{}).lacks(synchronousNormal) {
		q.Set("_synchronous", "OFF")
	}
	opened, err := (&sqlite3.SQLiteDriver{}).Open(u.String() + "?" + q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, ownError(err))
	}
	raw := opened.(*sqlite3.SQLiteConn)
	c := &conn{raw: raw, db: handle(raw), stmts: map[stmtKey]*stmt{}}
	c.auth = C.tb_setup(c.db)
	if kind == fileConn || kind == copyConn {
		return c, nil
	}
	if kind == writerConn {
		err = c.prepareWriter()
	}
	if err == nil {
		_, err = c.exec("PRAGMA wal_autocheckpoint=0")
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	C.tb_watch_wal(c.db, c.auth)
	return c, nil
}

// prepareWriter makes an empty file a database of ours, and replaces what is not the same
// on every replica.
func (c *conn) prepareWriter() error {
	if rc := C.tb_seed_functions(c.db, c.auth); rc != 0 {
		return c.failure(rc)
	}
	var pages int64
	if err := c.one("PRAGMA page_count", &pages); err != nil {
		return err
	}
	if pages == 0 {
		C.tb_reserve(c.db)
		if _, err := c.exec(fmt.Sprintf("PRAGMA application_id=%d", C.TB_APPLICATION)); err != nil {
			return err
		}
	}
	_, err := c.exec("PRAGMA journal_mode=WAL")
	return err
}

func (c *conn) close() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	for k, s := range c.stmts {
		C.tb_finalize(s.p, c.auth)
		delete(c.stmts, k)
	}
	C.tb_release(c.db)
	err := c.closeRaw()
	if code := int(c.auth.lost_sync); code != 0 { // SQLite says nothing of it: it leaves the WAL as it is.
		err = errors.Join(newSQLError(code, "a sync failed"), err)
	}
	C.free(unsafe.Pointer(c.auth))
	c.auth = nil
	return err
}

// closeRaw closes the handle: as the last connection it writes the WAL back, so what its syncs
// come to must be noted.
func (c *conn) closeRaw() error {
	runtime.LockOSThread() // tb_running is the thread's.
	defer runtime.UnlockOSThread()
	c.auth.mode = C.TB_INTERNAL
	C.tb_enter(c.auth)
	defer C.tb_enter(nil)
	return c.raw.Close()
}

// interrupt ends the statement that is running, if one is. Safe from any goroutine.
func (c *conn) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		C.tb_interrupt(c.db)
	}
}

// interruptUntil ends whatever is running, and what comes next, until ended is closed.
// SQLite forgets an interrupt that comes before a statement's first step.
func (c *conn) interruptUntil(ended <-chan struct{}) {
	tick := time.NewTicker(interruptAgain)
	defer tick.Stop()
	for {
		c.interrupt()
		select {
		case <-tick.C:
		case <-ended:
			return
		}
	}
}

func (c *conn) inTransaction() bool { return c != nil && !c.closed && C.tb_autocommit(c.db) == 0 }
func (c *conn) walFrames() int      { return int(c.auth.wal_frames) }
func (c *conn) resetRowID()         { C.tb_reset_rowid(c.db) }
func (c *conn) deferredKeys() bool  { return C.tb_deferred_keys(c.db) != 0 }

func (c *conn) lastError() *sqlError {
	return newSQLError(int(C.tb_extended_errcode(c.db)), C.GoString(C.tb_errmsg(c.db)))
}

// prepare returns the statement of sql, from the cache if it is there and not in use. The
// caller gives it back with release.
func (c *conn) prepare(sql string, m mode) (*stmt, error) {
	c.auth.mode, c.auth.denied, c.auth.exceeded = C.int(m), 0, 0
	c.auth.heap_base = c.auth.heap
	c.clock++
	key := stmtKey{sql, m}
	if s := c.stmts[key]; s != nil && !s.busy {
		s.busy, s.used = true, c.clock
		return s, nil
	}
	s, err := c.compile(sql)
	if err != nil {
		return nil, err
	}
	s.mode, s.busy, s.used = m, true, c.clock
	if c.stmts[key] == nil && len(sql) <= maxCachedSQL {
		c.evict()
		c.stmts[key] = s
	}
	return s, nil
}

func (c *conn) evict() {
	if len(c.stmts) < maxCachedStatements {
		return
	}
	var oldest stmtKey
	least := uint64(math.MaxUint64)
	for k, s := range c.stmts {
		if !s.busy && s.used < least {
			oldest, least = k, s.used
		}
	}
	if least != math.MaxUint64 {
		C.tb_finalize(c.stmts[oldest].p, c.auth)
		delete(c.stmts, oldest)
	}
}

func (c *conn) release(sql string, m mode, s *stmt) {
	C.tb_reset(s.p, c.auth)
	s.busy = false
	if c.stmts[stmtKey{sql, m}] != s {
		C.tb_finalize(s.p, c.auth)
	}
}

// compile prepares the one statement that sql holds.
func (c *conn) compile(sql string) (*stmt, error) {
	if len(sql) > C.TB_MAX_SQL {
		return nil, fmt.Errorf("%w: a statement of %d bytes, at most %d are taken", ErrTooMuch, len(sql), C.TB_MAX_SQL)
	}
	p, rest, err := c.compileFirst(sql)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, fmt.Errorf("%w: there is no statement in %.60q", ErrForbiddenSQL, sql)
	}
	s := &stmt{p: p, params: int(C.tb_params(p)), readonly: C.tb_readonly(p) != 0, schema: c.auth.schema != 0}
	for rest != "" { // A comment may follow, a second statement may not.
		next, tail, err := c.compileFirst(rest)
		if next != nil {
			C.tb_finalize(next, c.auth)
		}
		if next != nil || err != nil {
			C.tb_finalize(p, c.auth)
			return nil, fmt.Errorf("%w: one call takes one statement, and %.60q follows the first", ErrForbiddenSQL, rest)
		}
		rest = tail
	}
	return s, nil
}

func (c *conn) compileFirst(sql string) (*C.sqlite3_stmt, string, error) {
	text := C.CString(sql)
	defer C.free(unsafe.Pointer(text))
	var p *C.sqlite3_stmt
	var tail C.int
	c.auth.schema, c.auth.denied = 0, 0
	if rc := C.tb_prepare(c.db, c.auth, text, C.int(len(sql)), &p, &tail); rc != 0 {
		return nil, "", c.failure(rc)
	}
	return p, sql[tail:], nil
}

// failure is the error of the call that returned rc: ErrForbiddenSQL if the authorizer
// refused it.
func (c *conn) failure(rc C.int) error {
	if err := c.exceeded(); err != nil {
		return err
	}
	if c.auth.denied == 0 {
		e := c.lastError()
		if e.code == 0 || e.code == stepDone {
			e = &sqlError{code: int(rc), text: fmt.Sprintf("result code %d", int(rc))}
		}
		if c.damaged != nil && e.code != codeCorruptVTab && faultOf(e) == faultDamage {
			c.damaged(e)
		}
		return e
	}
	what := C.GoString(&c.auth.what[0])
	return fmt.Errorf("%w: %s", ErrForbiddenSQL, refusal(int(c.auth.denied), what))
}

// bind sets all parameters of s; the values are those that normalize returns.
func (c *conn) bind(s *stmt, args []any) error {
	if len(args) != s.params {
		return fmt.Errorf("the statement has %d parameters, %d values were given", s.params, len(args))
	}
	for i, a := range args {
		n, rc := C.int(i+1), C.int(0)
		switch v := a.(type) {
		case nil:
			rc = C.tb_bind_null(s.p, n)
		case int64:
			rc = C.tb_bind_int(s.p, n, C.int64_t(v))
		case float64:
			rc = C.tb_bind_float(s.p, n, C.double(v))
		case string:
			rc = C.tb_bind_text(s.p, c.auth, n, unsafe.Pointer(unsafe.StringData(v)), C.int(len(v)))
		case []byte:
			rc = C.tb_bind_blob(s.p, c.auth, n, unsafe.Pointer(unsafe.SliceData(v)), C.int(len(v)))
		default:
			return fmt.Errorf("bind parameter %d: a value of type %T was not normalized", i+1, a)
		}
		if rc != 0 {
			return c.lastError()
		}
	}
	return nil
}

// execResult is what a statement did, as every replica must find it.
type execResult struct {
	rowid, changes int64
	ran            bool // It was not refused before its first step.
	schema         bool
	readonly       bool
	lastRowID      bool // A row has the largest rowid now.
}

// exec runs one statement of this package.
func (c *conn) exec(sql string, args ...any) (execResult, error) {
	return c.execMode(sql, args, internal)
}

// execMode runs one statement to its end. With an error the result still holds the rowid
// and the changes that the failed statement left.
func (c *conn) execMode(sql string, args []any, m mode) (execResult, error) {
	s, err := c.prepare(sql, m)
	if err != nil {
		return execResult{}, err
	}
	defer c.release(sql, m, s)
	if err := c.bind(s, args); err != nil {
		return execResult{}, err
	}
	var out C.tb_result
	c.auth.denied, c.auth.last_rowid = 0, 0
	C.tb_exec(c.db, s.p, c.auth, &out)
	r := execResult{
		ran: true, rowid: int64(out.rowid), changes: int64(out.changes),
		schema: s.schema, readonly: s.readonly, lastRowID: c.auth.last_rowid != 0,
	}
	if out.rc != stepDone {
		return r, c.failure(out.rc)
	}
	return r, nil
}

// step reads the next row into row (which has one place a column); false at the end.
func (c *conn) step(s *stmt, row []any) (bool, error) {
	if len(s.cols) < len(row) {
		s.cols = make([]C.tb_value, len(row))
	}
	c.auth.mode = C.int(s.mode)
	rc := C.tb_step(s.p, c.auth, unsafe.SliceData(s.cols), C.int(len(row)))
	if rc == stepDone {
		return false, nil
	}
	if rc != stepRow {
		return false, c.failure(rc)
	}
	for i := range row {
		row[i] = goValue(&s.cols[i])
	}
	return true, nil
}

// first makes the first step of a statement, without reading the row that it reaches.
func (c *conn) first(s *stmt) (bool, error) {
	c.auth.mode = C.int(s.mode)
	rc := C.tb_step(s.p, c.auth, nil, 0)
	if rc != stepRow && rc != stepDone {
		return false, c.failure(rc)
	}
	return rc == stepRow, nil
}

// load reads the row that first has reached.
func (c *conn) load(s *stmt, row []any) {
	if len(s.cols) < len(row) {
		s.cols = make([]C.tb_value, len(row))
	}
	C.tb_load(s.p, unsafe.SliceData(s.cols), C.int(len(row)))
	for i := range row {
		row[i] = goValue(&s.cols[i])
	}
}

// goValue copies one column.
func goValue(v *C.tb_value) any {
	switch v._type {
	case 1:
		return int64(v.i)
	case 2:
		return float64(v.f)
	case 3:
		return C.GoStringN((*C.char)(v.p), v.n)
	case 4:
		return C.GoBytes(v.p, v.n)
	}
	return nil
}

func (c *conn) columns(s *stmt) []string {
	names := make([]string, C.tb_columns(s.p))
	for i := range names {
		names[i] = C.GoString(C.tb_column_name(s.p, C.int(i)))
	}
	return names
}

// types are the declared types of the columns.
func (c *conn) types(s *stmt) []string {
	types := make([]string, C.tb_columns(s.p))
	for i := range types {
		if t := C.tb_column_decltype(s.p, C.int(i)); t != nil {
			types[i] = C.GoString(t)
		}
	}
	return types
}

// one reads the first row of a statement of this package into int64s.
func (c *conn) one(sql string, dest ...*int64) error {
	s, err := c.prepare(sql, internal)
	if err != nil {
		return err
	}
	defer c.release(sql, internal, s)
	row := make([]any, len(dest))
	if ok, err := c.step(s, row); err != nil || !ok {
		return errors.Join(err, ErrNoRows)
	}
	for i, d := range dest {
		n, ok := row[i].(int64)
		if !ok {
			return fmt.Errorf("%s: column %d is a %T", sql, i, row[i])
		}
		*d = n
	}
	return nil
}

// complete is sqlite3_complete: whether sql ends at the end of a statement.
func complete(sql string) bool {
	text := C.CString(sql)
	defer C.free(unsafe.Pointer(text))
	return C.tb_complete(text) != 0
}
