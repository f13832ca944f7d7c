package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"tongban/internal/process"
)

// backUp makes a backup of the division with the command that an operator uses.
func (s *script) backUp(ctx context.Context) error {
	start := time.Now()
	var err error
	if s.backup, err = s.d.Backup(ctx); err != nil {
		return err
	}
	info, err := os.Stat(s.backup)
	if err != nil {
		return fmt.Errorf("find the backup: %w", err)
	}
	s.o.Progress.Step("backup: one encrypted file of all databases, %d KiB (%s)", info.Size()>>10, since(start))
	return nil
}

// restore makes a fourth, independent node of the backup in a fresh folder, runs it as a
// division of its own, and looks there for every receipt: with number and secret at its
// portal, and in its files. Meanwhile the district's line to its parent is cut: what is
// looked at is a copy, and a parent that met both would hold them.
func (s *script) restore(ctx context.Context) (err error) {
	start := time.Now()
	line := s.t.LineOf(shownCode)
	line.Cut()
	defer line.Heal()
	r := &District{Division: s.d.Division, Dir: filepath.Join(s.d.Dir, "restored"), binary: s.d.binary, say: s.o.Progress, http: newBrowser()}
	if err := os.Mkdir(r.Dir, 0o700); err != nil {
		return err
	}
	dir := filepath.Join(r.Dir, "node")
	secret, err := s.d.passphrase()
	if err != nil {
		return err
	}
	if _, err := process.Run(ctx, s.d.binary, append([]string{"restore", s.backup, "--dir", dir,
		"--passphrase-file", secret, "--yes"}, ports...)...); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = r.Close(true) // The first error says more.
		}
	}()
	if err := r.add(ctx, "restored", dir); err != nil {
		return err
	}
	if err := r.Settle(ctx); err != nil {
		return fmt.Errorf("the restored division: %w", err)
	}
	receipts := s.ledger.all()
	visits, err := r.visit(ctx, receipts)
	if err != nil {
		return err
	}
	shown, err := r.shown(ctx, r.Nodes[0], receipts, visits)
	if err != nil {
		return err
	}
	if err := r.Close(true); err != nil {
		return err
	}
	files, err := casesOf(r.Nodes[0].Config.Data)
	if err != nil {
		return err
	}
	for _, one := range receipts {
		if shown[one.Number] && files.has(one) {
			s.sum.RestoredCases++
		}
	}
	s.o.Progress.Step("restored into a fresh folder and run as a division of its own: %d of %d receipts are there (%s)",
		s.sum.RestoredCases, len(receipts), since(start))
	return nil
}

// verify lets the operator's command look at the three stopped folders.
func (s *script) verify(ctx context.Context) error {
	args := []string{"verify"}
	for _, n := range s.d.Nodes {
		args = append(args, n.Config.Dir())
	}
	if _, err := process.Run(ctx, s.d.binary, args...); err != nil {
		return err
	}
	s.o.Progress.Step("tongban verify: replicas, audit and receipts of the three folders agree")
	return nil
}
