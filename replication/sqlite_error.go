package replication

import "errors"

// sqlError is an error of SQLite.
type sqlError struct {
	code int // Extended result code.
	text string
}

func newSQLError(code int, text string) *sqlError {
	if code == codeIOErrorData { // SQLite calls it a disk I/O error.
		text = "a page does not match its checksum"
	}
	return &sqlError{code: code, text: text}
}

func (e *sqlError) Error() string { return "sqlite: " + e.text }

func (e *sqlError) primary() int { return e.code & 0xff }

// Primary result codes, from sqlite3.h.
const (
	codeError      = 1
	codeBusy       = 5
	codeLocked     = 6
	codeNoMemory   = 7
	codeReadOnly   = 8
	codeInterrupt  = 9
	codeIOError    = 10
	codeCorrupt    = 11
	codeFull       = 13
	codeCantOpen   = 14
	codeProtocol   = 15
	codeSchema     = 17
	codeConstraint = 19
	codeForeignKey = 787 // SQLITE_CONSTRAINT_FOREIGNKEY
	codeMisuse     = 21
	codeNoLFS      = 22
	codeNotADB     = 26
	stepRow        = 100
	stepDone       = 101
)

// Extended result codes.
const (
	codeIOErrorRead    = codeIOError | 1<<8
	codeIOErrorShort   = codeIOError | 2<<8
	codeIOErrorSync    = codeIOError | 4<<8
	codeIOErrorDirSync = codeIOError | 5<<8
	codeIOErrorData    = codeIOError | 32<<8
	codeCorruptVTab    = codeCorrupt | 1<<8
)

// damaged says that the file is not what was written: a page or a frame of the WAL that
// does not match its checksum, or what SQLite finds malformed. What a virtual table finds
// wrong in its own tables does not count: their pages have checksums too.
func (e *sqlError) damaged() bool {
	return e.code == codeIOErrorData || e.primary() == codeNotADB ||
		e.primary() == codeCorrupt && e.code != codeCorruptVTab
}

// lostSync says that a sync has failed: what was written before may be lost, and another
// sync that succeeds says nothing about it.
func (e *sqlError) lostSync() bool { return e.code == codeIOErrorSync || e.code == codeIOErrorDirSync }

// damaged says whether err comes from a damaged file: see sqlError.damaged and damagedPages.
func damaged(err error) bool {
	var sq *sqlError
	var pages *damagedPages
	return errors.As(err, &sq) && sq.damaged() || errors.As(err, &pages)
}

// deterministic says whether every replica meets the same error: a constraint, a wrong
// type, an overflow. The others say something about this machine alone.
func (e *sqlError) deterministic() bool {
	switch e.primary() {
	case codeBusy, codeLocked, codeNoMemory, codeReadOnly, codeInterrupt, codeIOError, codeCorrupt,
		codeFull, codeCantOpen, codeProtocol, codeSchema, codeMisuse, codeNoLFS, codeNotADB:
		return false
	}
	return true
}
