package replication

// #include "shim.h"
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"unsafe"

	"github.com/mattn/go-sqlite3"
)

// startSQLite registers what vfs.c adds to SQLite, once in a process. It fails when
// something else has used SQLite before.
var startSQLite = sync.OnceValue(func() error {
	if rc := C.tb_start(); rc != 0 {
		return fmt.Errorf("replication: SQLite cannot be set up for this process (code %d)", int(rc))
	}
	return nil
})

// returnMemory gives the kernel what closed connections have freed: a thousand databases
// leave some 200 MB with the allocator otherwise. It takes 30 to 60 ms after a thousand,
// and a millisecond when there is little to give.
func returnMemory() { C.tb_return_memory() }

// setTime makes now, Unix microseconds, the time of the statements that follow.
func (c *conn) setTime(now int64) { c.auth.timed, c.auth.now = 1, C.int64_t(now) }

// seed makes random() draw what every replica draws in this statement of this unit of the
// proposal. Both count from 0; units that are not kept do not count, and neither do
// statements that are not recorded.
func (c *conn) seed(id proposalID, unit, statement int) {
	s := (*[32]byte)(unsafe.Pointer(&c.auth.seed))
	copy(s[:], id[:])
	binary.LittleEndian.PutUint64(s[16:], uint64(unit))
	binary.LittleEndian.PutUint64(s[24:], uint64(statement))
	c.auth.seeded, c.auth.left, c.auth.drawn = 1, 0, 0
}

// unseed makes random() draw from SQLite's generator.
func (c *conn) unseed() { c.auth.seeded = 0 }

// exceeded is the error of the limit that has refused something since it was asked last.
func (c *conn) exceeded() error {
	which := c.auth.exceeded
	c.auth.exceeded = 0
	switch which {
	case C.TB_EXCEEDED_HEAP:
		return fmt.Errorf("%w: the statement needs more than %d MiB of memory", ErrTooMuch, C.TB_MAX_HEAP>>20)
	case C.TB_EXCEEDED_SPILL:
		return fmt.Errorf("%w: the statement needs more than %d MiB of temporary files", ErrTooMuch, C.TB_MAX_SPILL>>20)
	}
	return nil
}

// ownError is an error of the driver as one of this package.
func ownError(err error) error {
	var e sqlite3.Error
	if errors.As(err, &e) {
		return newSQLError(int(e.ExtendedCode), e.Error())
	}
	return err
}

// handle is the connection that the driver keeps to itself.
func handle(raw *sqlite3.SQLiteConn) *C.sqlite3 {
	return (*C.sqlite3)(reflect.ValueOf(raw).Elem().FieldByName("db").UnsafePointer())
}

// sums is the bytes of a page of the file if its pages carry checksums, else 0.
func (c *conn) sums() int { return int(C.tb_control(c.db, C.TB_OP_SUMS, 0)) }
