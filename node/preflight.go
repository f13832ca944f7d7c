package node

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"tongban/node/exit"
	"tongban/node/trust"
	"tongban/replication"
	"tongban/tenancy"
)

const (
	// minFree is the free space below which a node takes no changes: replication keeps it
	// for elections and checkpoints.
	minFree = 64 << 20
	// startFree is the free space below which a node waits with its start: the log has to
	// be opened, and to tell terms and votes.
	startFree = 24 << 20
	roomAgain = time.Second // Between two looks,
	roomTell  = time.Minute // and two lines of the log.
	// clockTolerance is how far the clock may be before the newest entry: time stamps of
	// entries are then moved forward, which is harmless for so long.
	clockTolerance = time.Minute
)

// preflight finds what would make the node fail later, and says it in one sentence.
func (n *Node) preflight() error {
	probe, err := os.CreateTemp(n.cfg.Data, ".probe-*")
	switch {
	case errors.Is(err, fs.ErrPermission):
		return exit.Configf("the data folder %s cannot be written by this user; run as its owner, or: chown -R %d %s", n.cfg.Data, os.Getuid(), n.cfg.Data)
	case errors.Is(err, syscall.ENOSPC):
		return nil // Run waits for room.
	case errors.Is(err, syscall.EROFS):
		return exit.Errorf(exit.Failed, "the disk of %s is read-only; look at the kernel's log for disk errors", n.cfg.Data)
	case err != nil:
		return exit.Configf("use the data folder %s: %w", n.cfg.Data, err)
	}
	_ = probe.Close()
	if err := os.Remove(probe.Name()); err != nil {
		return exit.Configf("use the data folder %s: %w", n.cfg.Data, err)
	}
	return n.checkClock()
}

// awaitRoom waits until the databases can be opened: a box whose disk is full must come
// back by itself when there is room, and not be given up after some starts.
func (n *Node) awaitRoom(ctx context.Context) {
	again := time.NewTicker(roomAgain)
	defer again.Stop()
	for round := 0; ; round++ {
		disk, err := diskOf(n.cfg.Data)
		if err != nil || disk.Free >= startFree {
			return
		}
		if round%int(roomTell/roomAgain) == 0 {
			n.log.Error("the disk is full; the node starts when there is room", "folder", n.cfg.Data,
				"free_mib", disk.Free>>20, "needed_mib", uint64(startFree)>>20)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// checkClock refuses a clock that is before what certainly happened already.
func (n *Node) checkClock() error {
	now, certificate := n.now(), n.keys.TLS().Leaf
	if now.Before(certificate.NotBefore) {
		return exit.Errorf(exit.Failed, "this box's clock says %s, but its certificate is from %s; set the clock",
			now.UTC().Format(time.RFC3339), certificate.NotBefore.UTC().Format(time.RFC3339))
	}
	ended := now.After(certificate.NotAfter)
	over := exit.Errorf(exit.Failed, "the certificate of this node ended on %s while it was off, and no other node believes it any more; if the clock (%s) is right, run `tongban node remove` on another box and join this one anew",
		certificate.NotAfter.Format(time.DateOnly), now.UTC().Format(time.RFC3339))
	path := filepath.Join(n.cfg.Data, "db", filepath.FromSlash(string(tenancy.DivisionDatabase)), "state.db")
	if _, err := os.Stat(path); err != nil { // Not there before the first start.
		if ended {
			return over
		}
		return nil
	}
	f, err := replication.OpenFile(path)
	if errors.Is(err, replication.ErrInUse) {
		return nil // This node runs already, which is found out in a moment.
	}
	if err != nil { // It may be damaged: replication knows what to do then.
		n.log.Warn("compare the clock with the newest entry", "err", err)
		return nil
	}
	newest := f.Now()
	nodes, nodesErr := tenancy.ReadNodes(f)
	if err := f.Close(); err != nil {
		return exit.Errorf(exit.Failed, "read the division database: %w", err)
	}
	if ended {
		// A node alone needs nobody to believe it; others do for a while, see trust.Grace.
		if nodesErr == nil && len(nodes) > 1 && now.Sub(certificate.NotAfter) > trust.Grace {
			return over
		}
		n.log.Warn("the certificate of this node ended while it was off; it is renewed as soon as the division has a leader",
			"ended", certificate.NotAfter)
	}
	if now.Before(newest.Add(-clockTolerance)) {
		return exit.Errorf(exit.Failed, "this box's clock says %s, but its newest entry is from %s; set the clock and start again",
			now.UTC().Format(time.RFC3339), newest.UTC().Format(time.RFC3339))
	}
	return nil
}

// listen binds a TCP port, and says what to do when that fails.
func listen(key, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, exit.Errorf(exit.Failed, "%s %s is in use by another program (see: ss -ltnp); stop that, or choose another port in %s", key, address, "tongban.toml")
	case errors.Is(err, syscall.EACCES):
		return nil, exit.Configf("%s %s: this user may not listen on ports below 1024; choose a higher port, or run as a systemd service with CAP_NET_BIND_SERVICE", key, address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, exit.Configf("%s %s: this box does not have that address (see: ip addr); correct %s", key, address, key)
	case err != nil:
		return nil, exit.Configf("%s %s: %w", key, address, err)
	}
	return l, nil
}
