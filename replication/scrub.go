package replication

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	scrubBytes = 1 << 20 // Read at a time.
	// A checkpoint may be writing the page that is being read.
	scrubTries = 5
	scrubPause = 20 * time.Millisecond
	maxDamaged = 100 // Pages that a damagedPages lists; the rest is only counted.
)

// damagedPages are pages of a main file that do not match their checksums.
type damagedPages struct {
	path  string
	pages []int64 // Their numbers, from 1; at most maxDamaged.
	count int64
}

func (d *damagedPages) Error() string {
	if d.count == 1 {
		return fmt.Sprintf("page %d of %s does not match its checksum", d.pages[0], d.path)
	}
	return fmt.Sprintf("page %d of %s and %d others do not match their checksums", d.pages[0], d.path, d.count-1)
}

// scrub reads all pages of the main file at path from the disk, past the page cache, and
// verifies their checksums. It returns how many it has verified: 0 for a file whose pages
// have none. The error is a *damagedPages if some do not match.
//
// It may run beside the connections of this process. (Closing the file drops this process's
// locks on it, which keep only other processes out; Options.Dir has a lock of its own.)
func scrub(ctx context.Context, path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("scrub: %w", err)
	}
	defer f.Close()
	page, err := sealedPages(f)
	if err != nil || page == 0 {
		return 0, err
	}
	buf := make([]byte, max(scrubBytes, page))
	bad := &damagedPages{path: path}
	verified := int64(0)
	for at := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return verified, err
		}
		n, err := readFromDisk(f, buf, at)
		if err != nil {
			return verified, fmt.Errorf("scrub %s: %w", path, err)
		}
		count := n / page
		if count == 0 { // Perhaps a part of a page that a checkpoint is adding.
			break
		}
		if err := scrubChunk(ctx, f, buf[:count*page], page, at/int64(page)+1, bad); err != nil {
			return verified, err
		}
		verified += int64(count)
		at += int64(count * page)
	}
	if bad.count > 0 {
		return verified, bad
	}
	return verified, nil
}

// sealedPages is the bytes of a page of a file whose pages carry checksums, else 0.
func sealedPages(f *os.File) (int, error) {
	var head [100]byte
	switch _, err := f.ReadAt(head[:], 0); {
	case errors.Is(err, io.EOF): // Empty.
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("scrub: %w", err)
	}
	var sums C.int
	page := C.tb_header((*C.uint8_t)(&head[0]), &sums)
	if page == 0 {
		return 0, newSQLError(codeNotADB, f.Name()+" does not begin as a database does")
	}
	return int(page) * int(min(sums, 1)), nil
}

// scrubChunk verifies the pages in buf, of which the first has the number.
func scrubChunk(ctx context.Context, f *os.File, buf []byte, page int, number int64, bad *damagedPages) error {
	for len(buf) > 0 {
		i := int(C.tb_first_bad((*C.uint8_t)(unsafe.SliceData(buf)), C.int(len(buf)/page), C.int(page), C.int64_t(number)))
		if i < 0 {
			return nil
		}
		number += int64(i)
		one := buf[i*page : (i+1)*page]
		ok, err := readAgain(ctx, f, one, number)
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

// readAgain gives a page that does not match more chances: a checkpoint may have been
// writing it, or cutting the file off before it.
func readAgain(ctx context.Context, f *os.File, page []byte, number int64) (bool, error) {
	for range scrubTries {
		timer := time.NewTimer(scrubPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false, ctx.Err()
		}
		n, err := readFromDisk(f, page, (number-1)*int64(len(page)))
		if err != nil {
			return false, fmt.Errorf("scrub: %w", err)
		}
		if n < len(page) || C.tb_first_bad((*C.uint8_t)(unsafe.SliceData(page)), 1, C.int(len(page)), C.int64_t(number)) < 0 {
			return true, nil
		}
	}
	return false, nil
}

// readFromDisk reads until buf is full or the file ends. What the page cache holds of it is
// dropped before, unless it was not written back yet.
func readFromDisk(f *os.File, buf []byte, at int64) (int, error) {
	_ = unix.Fadvise(int(f.Fd()), at, int64(len(buf)), unix.FADV_DONTNEED) // A wish.
	n, err := f.ReadAt(buf, at)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}
