package databases

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tongban/internal/bench/wire"
	"tongban/internal/demo"
)

const (
	goalRestart = 3 * time.Second
	goalCopy    = 20 * time.Second
	goalStall   = 50 * time.Millisecond

	largeText   = 1000 // Bytes of each row's text.
	largeRows   = 500  // A statement: an update has 100 ms.
	copyWriters = 8
	// copyPatience bounds how long a new node may take to have everything.
	copyPatience = 5 * time.Minute
)

// large measures a node's restart with a large database, and a new node that gets it.
func (b *bench) large(ctx context.Context, c *cluster) error {
	made, err := c.create(ctx, "large", 1)
	if err != nil {
		return err
	}
	d := made[0]
	if err := c.fill(ctx, d, b.size.large); err != nil {
		return fmt.Errorf("fill a database: %w", err)
	}
	size, err := sizeOf(c.d.Nodes[0], d)
	if err != nil {
		return err
	}
	b.o.Progress.Step("a database of %d MB", size>>20)
	if b.wants("restart") {
		row, err := c.restart(ctx, d, size)
		if err != nil {
			return err
		}
		b.put("restart", row)
	}
	if !b.wants("copy") {
		return nil
	}
	row, err := c.copy(ctx, b, d, size)
	if err == nil {
		b.put("copy", row)
	}
	return err
}

// fill inserts rows until their text has so many bytes. They are sent, not computed by the
// statement: the log gets as long as the file then, and is cut, so that a new replica needs
// the file.
func (c *cluster) fill(ctx context.Context, d *database, bytes int64) error {
	ctx, cancel := context.WithTimeout(ctx, setupPatience)
	defer cancel()
	conns := connections{}
	defer conns.close()
	if err := d.insist(ctx, conns, "/db/execute?transaction", statements(`CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, number INTEGER NOT NULL, text TEXT NOT NULL)`), askEvery); err != nil {
		return err
	}
	if err := c.side([]*database{d}).findLeaders(ctx); err != nil {
		return err
	}
	var values strings.Builder
	for i := range largeRows {
		fmt.Fprintf(&values, ",(%d,'%s')", i, strings.Repeat(string(rune('A'+i%26)), largeText))
	}
	body := statements(`INSERT INTO t(number, text) VALUES ` + values.String()[1:])
	for done := int64(0); done < bytes; done += largeRows * largeText {
		if err := d.insist(ctx, conns, "/db/execute", body, pollEvery); err != nil {
			return err
		}
	}
	_, err := c.settled(ctx)
	return err
}

// fileOf is a database's file on a node.
func fileOf(n *demo.Node, d *database) string {
	return filepath.Join(n.Config.Data, "db", filepath.FromSlash(string(d.id)), "state.db")
}

// sizeOf is the size of a database's file on a node.
func sizeOf(n *demo.Node, d *database) (int64, error) {
	info, err := os.Stat(fileOf(n, d))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// restart stops a node in good order and starts it, then kills it and starts it; serving
// means that it answers a read of its own replica. The file must stay the same one.
func (c *cluster) restart(ctx context.Context, d *database, size int64) (Row, error) {
	n := c.d.Nodes[len(c.d.Nodes)-1]
	before, err := os.Stat(fileOf(n, d))
	if err != nil {
		return Row{}, err
	}
	var took [2]time.Duration
	for i, end := range []func() error{func() error { return c.d.StopNode(n) }, func() error { c.d.Kill(n); return nil }} {
		if err := end(); err != nil {
			return Row{}, err
		}
		if took[i], err = c.serving(ctx, n, d); err != nil {
			return Row{}, err
		}
		if _, err := c.settled(ctx); err != nil {
			return Row{}, err
		}
	}
	after, err := os.Stat(fileOf(n, d))
	if err != nil {
		return Row{}, err
	}
	restored := "no restore"
	if !os.SameFile(before, after) {
		restored = "RESTORED"
	}
	slowest := max(took[0], took[1])
	return Row{
		Row:    fmt.Sprintf("restart of a node with a database of %d MB", size>>20),
		Goal:   fmt.Sprintf("serving in < %.0f s, no restore", goalRestart.Seconds()),
		Figure: fmt.Sprintf("%.2f s, %s", slowest.Seconds(), restored),
		Pass:   slowest < goalRestart && os.SameFile(before, after),
		Detail: fmt.Sprintf("start of the process → first answer from its replica: %.2f s after a stop, %.2f s after kill -9", took[0].Seconds(), took[1].Seconds()),
	}, nil
}

// serving starts a node and returns when it answers from its replica of d.
func (c *cluster) serving(ctx context.Context, n *demo.Node, d *database) (time.Duration, error) {
	start := time.Now()
	told := make(chan error, 1)
	go func() { told <- c.d.Run(ctx, n) }()
	patient, cancel := context.WithTimeout(ctx, setupPatience)
	defer cancel()
	conns := connections{}
	defer conns.close()
	for {
		_, err := d.at(patient, conns, c.doors[n.Name], "/db/query?level=none", statements(`SELECT max(id) FROM t`))
		if err == nil {
			break
		}
		if pause(patient, pollEvery) != nil {
			return 0, errors.Join(err, <-told)
		}
	}
	took := time.Since(start)
	return took, <-told
}

// copy adds a node while clients write to the database, and measures how long it takes
// until the node has it, and the writers' longest wait meanwhile.
func (c *cluster) copy(ctx context.Context, b *bench, d *database, size int64) (Row, error) {
	if err := c.side([]*database{d}).findLeaders(ctx); err != nil {
		return Row{}, err
	}
	calm, err := c.writing(ctx, d, func(ctx context.Context) error { return pause(ctx, b.o.For) })
	if err != nil {
		return Row{}, err
	}
	var took time.Duration
	var copies int
	busy, err := c.writing(ctx, d, func(ctx context.Context) error {
		start := time.Now()
		n, err := c.d.Join(ctx)
		if err != nil {
			return err
		}
		c.doors[n.Name] = n.Config.Databases.Listen
		copies, err = c.has(ctx, n, d)
		took = time.Since(start)
		return err
	})
	if err != nil {
		return Row{}, err
	}
	return Row{
		Row:    fmt.Sprintf("%d MB snapshot to a new replica under writes", size>>20),
		Goal:   fmt.Sprintf("< %.0f s, writers' longest stall < %d ms", goalCopy.Seconds(), goalStall.Milliseconds()),
		Figure: fmt.Sprintf("%.1f s, %s", took.Seconds(), milliseconds(busy.Longest)),
		Pass:   took < goalCopy && busy.Longest < goalStall && copies > 0,
		Detail: fmt.Sprintf("from `join` until its replica votes and is up to date, files received: %d; %d writers: %s meanwhile; before: %s, longest %s", copies, copyWriters, busy, calm, milliseconds(calm.Longest)),
	}, nil
}

// writing drives writers while something else goes on.
func (c *cluster) writing(ctx context.Context, d *database, beside func(ctx context.Context) error) (wire.Figures, error) {
	ctx, cancel := context.WithTimeout(ctx, copyPatience)
	defer cancel()
	body := statements(`INSERT INTO t(number, text) VALUES(1, 'written while a copy is made')`)
	return wire.Drive(ctx, wire.Load{Clients: copyWriters, Beside: beside, New: func(int) (func(context.Context) error, func(), error) {
		conns := connections{}
		return func(ctx context.Context) error {
			_, err := d.do(ctx, conns, "/db/execute", body)
			return err
		}, conns.close, nil
	}})
}

// has waits until a node's replica votes and is at its leader's index, or all but, and
// returns how many files it has received for that.
func (c *cluster) has(ctx context.Context, n *demo.Node, d *database) (copies int, err error) {
	const near = 1000 // Entries: the writers do not stop.
	for {
		list, err := c.d.Databases(ctx, n)
		if err == nil {
			for _, s := range list {
				if s.Database == d.id && len(s.Voters) == len(c.d.Nodes) && s.Lag != nil && *s.Lag < near {
					return s.Received, nil
				}
			}
		}
		if pause(ctx, pollEvery) != nil {
			return 0, fmt.Errorf("node %s never had %s whole: %w", n.Name, d.id, err)
		}
	}
}
