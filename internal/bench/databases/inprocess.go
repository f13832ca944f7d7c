package databases

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"tongban/internal/bench/wire"
	"tongban/replication"
)

const (
	goalInProcess    = 50_000 // Closures a second.
	inProcessWriters = 256
	// electPatience bounds how long three fresh engines may take to have a leader.
	electPatience = 30 * time.Second
)

// inProcess measures closures on three engines in this process: their logs are fsynced,
// their connections are TCP on loopback.
func (b *bench) inProcess(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "tongban-bench-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	e, err := openEngines(dir, 3)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	db, err := e.found(ctx, "bench/main")
	if err != nil {
		return err
	}
	if _, _, err := db.Exec(ctx, replication.Statement{SQL: `CREATE TABLE t(id INTEGER PRIMARY KEY, number INTEGER NOT NULL, text TEXT NOT NULL)`}); err != nil {
		return err
	}
	var all contest
	for range b.o.Rounds {
		f, err := wire.Drive(ctx, wire.Load{Clients: inProcessWriters, Warm: b.size.warm, For: b.o.For, New: func(client int) (func(context.Context) error, func(), error) {
			number := int64(client)
			return func(ctx context.Context) error {
				number += inProcessWriters
				_, err := db.Update(ctx, func(tx *replication.Tx) error {
					return tx.Exec(`INSERT INTO t(number, text) VALUES(?, ?)`, number, "a value of some length")
				})
				return err
			}, func() {}, nil
		}})
		if err != nil {
			return err
		}
		all.add(workload{per: 1}, f)
	}
	rate := median(all.rates)
	b.put("inprocess-256", Row{Row: fmt.Sprintf("in process, three replicas fsynced, %d writers", inProcessWriters), Goal: fmt.Sprintf("≥ %d closures/s", goalInProcess),
		Figure: fmt.Sprintf("%.0f closures/s", rate), Pass: rate >= goalInProcess, Detail: fmt.Sprintf("closures/s: %s; everything took %.0f %% of a core", all, median(all.cpu))})
	return nil
}

// engines are nodes in this process. Each listens on loopback; whoever dials says its name
// and protocol first, in place of mutual TLS.
type engines struct {
	list    []*replication.Engine
	lines   []net.Listener
	voters  []replication.NodeID
	serving sync.WaitGroup
}

// openEngines opens so many engines below dir.
func openEngines(dir string, n int) (*engines, error) {
	e := &engines{}
	addrs := map[replication.NodeID]string{}
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(err, e.close())
		}
		id := replication.NodeID(fmt.Sprintf("n%d", i+1))
		e.lines, e.voters, addrs[id] = append(e.lines, l), append(e.voters, id), l.Addr().String()
	}
	for i, id := range e.voters {
		engine, err := replication.Open(replication.Options{Dir: filepath.Join(dir, string(id)), Node: id, Log: slog.New(slog.DiscardHandler),
			Dial: func(ctx context.Context, to replication.NodeID, protocol string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, "tcp", addrs[to])
				if err != nil {
					return nil, err
				}
				if _, err := fmt.Fprintf(conn, "%c%s%c%s", len(id), id, len(protocol), protocol); err != nil {
					return nil, errors.Join(err, conn.Close())
				}
				return conn, nil
			}})
		if err != nil {
			return nil, errors.Join(err, e.close())
		}
		e.list = append(e.list, engine)
		e.serving.Go(func() { e.serve(engine, e.lines[i]) })
	}
	return e, nil
}

// serve serves what comes in until the listener is closed.
func (e *engines) serve(engine *replication.Engine, l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		e.serving.Go(func() {
			from, err1 := readShort(conn)
			protocol, err2 := readShort(conn)
			if err1 != nil || err2 != nil {
				_ = conn.Close() // It said nothing.
				return
			}
			_ = engine.ServeConn(conn, replication.NodeID(from), protocol) // Ends with the connection.
		})
	}
}

// readShort reads a text behind one byte with its length.
func readShort(conn net.Conn) (string, error) {
	b := make([]byte, 1, 256)
	if _, err := io.ReadFull(conn, b); err != nil {
		return "", err
	}
	b = b[:b[0]]
	_, err := io.ReadFull(conn, b)
	return string(b), err
}

// found opens a database on all engines and returns it where it leads.
func (e *engines) found(ctx context.Context, id replication.DatabaseID) (*replication.DB, error) {
	var dbs []*replication.DB
	for _, engine := range e.list {
		db, err := engine.OpenDB(id, replication.DBOptions{Voters: e.voters})
		if err != nil {
			return nil, err
		}
		dbs = append(dbs, db)
	}
	ctx, cancel := context.WithTimeout(ctx, electPatience)
	defer cancel()
	for {
		for _, db := range dbs {
			if db.IsLeader() {
				return db, nil
			}
		}
		if err := pause(ctx, pollEvery); err != nil {
			return nil, fmt.Errorf("nobody came to lead %s: %w", id, err)
		}
	}
}

// close ends all.
func (e *engines) close() error {
	var errs []error
	for _, engine := range e.list {
		errs = append(errs, engine.Close())
	}
	for _, l := range e.lines {
		errs = append(errs, l.Close())
	}
	e.serving.Wait()
	return errors.Join(errs...)
}
