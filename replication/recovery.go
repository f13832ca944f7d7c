package replication

// #include "shim.h"
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// copiedFrames is how many frames of the WAL beside the file at path a checkpoint may have
// copied into it (see wal_mark in vfs.c); 0 if there is no such WAL. After the recovery the
// WAL must have so many at least: SQLite takes the first damaged frame for its end, and the
// file would hold pages of different times.
func copiedFrames(path string) (int, error) {
	mark, err := os.ReadFile(path + "-wal" + C.TB_MARK)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(mark) < 16 {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the mark of a WAL: %w", err)
	}
	var m [4]uint32
	for i := range m {
		m[i] = binary.NativeEndian.Uint32(mark[4*i:])
	}
	if markCheck(m) != m[3] { // It was being written: nothing is copied yet.
		return 0, nil
	}
	wal, err := os.Open(path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // The last connection was closed.
	}
	if err != nil {
		return 0, err
	}
	defer wal.Close()
	head := make([]byte, walHead+walFrameHead)
	n, _ := wal.ReadAt(head, 0)
	if salts := walSalts(head[:n]); len(salts) > 0 && string(salts) == string(mark[:8]) {
		return int(m[2]), nil
	}
	return 0, nil
}

const (
	walHead      = 32 // Bytes.
	walFrameHead = 24
)

// walSalts are the salts of a WAL: those of its head, or those of the first frame if the
// head is damaged. If it is not, the first frame may be one of an earlier WAL.
func walSalts(head []byte) []byte {
	if len(head) < walHead+walFrameHead {
		return nil
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if head[3]&1 != 0 {
		order = binary.BigEndian
	}
	var a, b uint32
	for i := 0; i < 24; i += 8 {
		a += order.Uint32(head[i:]) + b
		b += order.Uint32(head[i+4:]) + a
	}
	if a == binary.BigEndian.Uint32(head[24:]) && b == binary.BigEndian.Uint32(head[28:]) {
		return head[16:24]
	}
	return head[walHead+8 : walHead+16]
}

// markCheck is TB_MARK_CHECK.
func markCheck(m [4]uint32) uint32 { return (m[0]^m[1])*0x9E3779B1 ^ m[2] ^ 0x746d6b31 }

// frames is how many frames the WAL has, for a connection that has read.
func (c *conn) frames() int { return int(C.tb_control(c.db, C.TB_OP_FRAMES, 0)) }
