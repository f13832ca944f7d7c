package replication

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// streamTimeout is how long a stream may stand still.
	streamTimeout = 30 * time.Second
	// Installing a received file means reading and writing it once more and an fsync;
	// installBytesPerSecond is a slow disk's rate.
	installTimeout        = time.Minute
	installBytesPerSecond = 4 << 20
	streamBuffer          = 256 << 10
)

// InstallSnapshot sends a replica's file over a connection of its own, so that it does
// not hold up other messages. It returns when the other side has installed it, when the
// stream stood still for streamTimeout, or when the group is closed.
func (g *groupTransport) InstallSnapshot(_ raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if !g.t.begin() {
		return ErrClosed
	}
	defer g.t.tasks.Done()
	to := NodeID(target)
	conn, r, _, err := g.t.connect(g.ctx, to, streamProtocol)
	if err != nil {
		return fmt.Errorf("replication: send a snapshot of %s to %s: %w", g.id, to, err)
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(g.ctx, func() { _ = conn.Close() })()
	if err := g.sendSnapshot(conn, r, to, args, resp, data); err != nil {
		return fmt.Errorf("replication: send a snapshot of %s to %s: %w", g.id, to, err)
	}
	return nil
}

func (g *groupTransport) sendSnapshot(conn net.Conn, r *bufio.Reader, to NodeID, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	head := appendFrame(nil, frame{kind: kindInstall, group: g.id, payload: appendInstallRequest(nil, args)})
	if err := writeAll(conn, head); err != nil {
		return err
	}
	sent, err := copyStream(conn, io.LimitReader(data, args.Size))
	if err == nil && sent != args.Size {
		err = fmt.Errorf("the file ended after %d of %d bytes", sent, args.Size)
	}
	if err != nil {
		// A receiver that refused has answered and closed: its reason says more.
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		if f, readErr := readFrame(r, maxFrame); readErr == nil && f.kind == kindFailure {
			return fmt.Errorf("%s answered: %s", to, f.payload)
		}
		return err
	}
	wait := installTimeout + time.Duration(args.Size/installBytesPerSecond)*time.Second
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	f, err := readFrame(r, maxFrame)
	if err != nil {
		return fmt.Errorf("wait for the installation: %w", err)
	}
	switch f.kind {
	case kindResponse:
		return decodeResponse(f.payload, to, resp)
	case kindFailure:
		return fmt.Errorf("%s answered: %s", to, f.payload)
	default:
		return fmt.Errorf("an answer of kind %d", f.kind)
	}
}

// copyStream copies with a deadline for every chunk.
func copyStream(conn net.Conn, data io.Reader) (sent int64, err error) {
	b := make([]byte, streamBuffer)
	for {
		n, readErr := io.ReadFull(data, b)
		if err := writeAll(conn, b[:n]); err != nil {
			return sent, err
		}
		sent += int64(n)
		switch readErr {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return sent, nil
		default:
			return sent, readErr
		}
	}
}

// serveStream receives one snapshot, or serves a fetch.
func (t *transport) serveStream(conn net.Conn, r *bufio.Reader, from NodeID) error {
	if err := conn.SetReadDeadline(time.Now().Add(streamTimeout)); err != nil {
		return err
	}
	f, err := readFrame(r, maxFrame)
	if err != nil {
		return err
	}
	if f.kind == kindFetch {
		return t.serveFetch(conn, f, from)
	}
	if f.kind != kindInstall {
		return fmt.Errorf("a stream begins with a frame of kind %d", f.kind)
	}
	q, err := decodeInstallRequest(f.payload, from)
	if err != nil {
		return fmt.Errorf("a malformed snapshot request for %q: %w", f.group, err)
	}
	answer := func(response any, err error) []byte {
		if err == nil {
			var b []byte
			if b, err = appendResponse(beginFrame(nil, kindResponse, "", f.seq), response); err == nil {
				return endFrame(b, 0)
			}
		}
		text := err.Error()
		return appendFrame(nil, frame{kind: kindFailure, seq: f.seq, payload: []byte(text[:min(len(text), maxFailureText)])})
	}
	select {
	case t.streams <- struct{}{}:
		defer func() { <-t.streams }()
	default:
		return writeAll(conn, answer(nil, errBusy))
	}
	answered := make(chan []byte, 1)
	t.deliver(f.group, inbound{
		from: from, command: q, size: len(f.payload),
		reader: &stallReader{conn: conn, r: io.LimitReader(r, q.Size)},
		answer: func(response any, err error) { answered <- answer(response, err) },
	})
	return writeAll(conn, <-answered)
}

// stallReader fails when the peer sends nothing for streamTimeout.
type stallReader struct {
	conn net.Conn
	r    io.Reader
}

func (s *stallReader) Read(b []byte) (int, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(streamTimeout)); err != nil {
		return 0, err
	}
	return s.r.Read(b)
}
