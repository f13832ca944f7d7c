package replication

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"time"
	"unsafe"
)

const (
	scrubBytes = 1 << 20 // Read at a time.
	// A checkpoint may be writing the page that is being read.
	scrubTries = 4
	scrubPause = 5 * time.Millisecond
	maxDamaged = 100 // Pages that a damagedPages lists; the rest is only counted.
)

// damagedPages are pages of a main file that do not match their checksums.
type damagedPages struct {
	path  string
	pages []int64 // Their numbers, from 1; at most maxDamaged.
	count int64
}

// Error names the first page and says how many others there are.
func (d *damagedPages) Error() string {
	if d.count == 1 {
		return fmt.Sprintf("page %d of %s does not match its checksum", d.pages[0], d.path)
	}
	return fmt.Sprintf("page %d of %s and %d others do not match their checksums", d.pages[0], d.path, d.count-1)
}

// scrub reads all pages of the main file at path and verifies their checksums. It returns
// how many it has verified: 0 for a file whose pages have none. The error is one that
// damaged knows if some do not match.
//
// It may run beside a writer. It reads through SQLite's own handle: if this process closed
// one of its own, it would lose all its locks on the file, which keep other programs out.
func scrub(ctx context.Context, path string) (int64, error) {
	c, err := openConn(path, fileConn)
	if err != nil {
		return 0, fmt.Errorf("scrub: %w", err)
	}
	defer c.close()
	page := c.sums()
	if page == 0 {
		const magic = "SQLite format 3\x00"
		head := make([]byte, len(magic))
		n, err := c.readRaw(head, 0, 1)
		if err == nil && n > 0 && string(head[:n]) != magic {
			err = &damagedPages{path: path, pages: []int64{1}, count: 1}
		}
		return 0, err
	}
	buf := make([]byte, max(scrubBytes, page))
	bad := &damagedPages{path: path}
	verified := int64(0)
	for {
		if err := ctx.Err(); err != nil {
			return verified, err
		}
		n, err := c.readRaw(buf, verified*int64(page), page)
		if err != nil {
			return verified, fmt.Errorf("scrub %s: %w", path, err)
		}
		if n == 0 {
			break
		}
		if err := c.scrubPages(ctx, buf[:n*page], page, verified+1, bad); err != nil {
			return verified, err
		}
		verified += int64(n)
	}
	if bad.count > 0 {
		return verified, bad
	}
	return verified, nil
}

// readRaw reads bytes of the main file unverified, and returns how many whole pages it got.
func (c *conn) readRaw(buf []byte, at int64, page int) (int, error) {
	var size C.int64_t
	rc := C.tb_read_raw(c.db, unsafe.Pointer(unsafe.SliceData(buf)), C.int(len(buf)), C.int64_t(at), &size)
	if rc != 0 && rc != codeIOErrorShort {
		return 0, newSQLError(int(rc), "the file cannot be read")
	}
	return min(len(buf), max(0, int(int64(size)-at))) / page, nil
}

// pageSum is the checksum of n bytes (a multiple of 8, at least 32) of the page of the number.
func pageSum(b []byte, number uint64) uint64 {
	return uint64(C.tb_sum((*C.uint8_t)(unsafe.SliceData(b)), C.int(len(b)), C.uint64_t(number)))
}

// scrubPages verifies the pages in buf, of which the first has the number.
func (c *conn) scrubPages(ctx context.Context, buf []byte, page int, number int64, bad *damagedPages) error {
	for len(buf) > 0 {
		i := firstBad(buf, page, number)
		if i < 0 {
			return nil
		}
		number += int64(i)
		ok, err := c.readAgain(ctx, buf[i*page:(i+1)*page], number)
		if err != nil {
			return err
		}
		if !ok {
			bad.count++
			if len(bad.pages) < maxDamaged {
				bad.pages = append(bad.pages, number)
			}
		}
		buf = buf[(i+1)*page:]
		number++
	}
	return nil
}

// firstBad is the position of the first page in buf that does not match, or -1.
func firstBad(buf []byte, page int, number int64) int {
	return int(C.tb_first_bad((*C.uint8_t)(unsafe.SliceData(buf)), C.int(len(buf)/page), C.int(page), C.int64_t(number)))
}

// readAgain gives a page that does not match more chances: a checkpoint may have been
// writing it, or cutting the file off before it.
func (c *conn) readAgain(ctx context.Context, page []byte, number int64) (bool, error) {
	for range scrubTries {
		timer := time.NewTimer(scrubPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false, ctx.Err()
		}
		n, err := c.readRaw(page, (number-1)*int64(len(page)), len(page))
		if err != nil {
			return false, fmt.Errorf("scrub: %w", err)
		}
		if n == 0 || firstBad(page, len(page), number) < 0 {
			return true, nil
		}
	}
	return false, nil
}
