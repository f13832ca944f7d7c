package simulate

import (
	"context"
	"errors"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/replication"
	"tongban/service"
)

// Revoke has a division leave its parent for good, as `tongban child revoke` there does.
func (w *World) Revoke(ctx context.Context, child division.Ref) error {
	parent := w.Divisions[w.Divisions[child].Parent]
	r, err := letters{parent.Ref}.SignRevocation(federation.Revocation{Ref: child, Parent: parent.Ref, At: time.Now()})
	if err != nil {
		return err
	}
	return parent.DB.Update(ctx, func(tx *service.Tx) error { return federation.RevokeChild(tx, r) })
}

// parent is where a division hangs now.
func (w *World) parent(d division.Ref) division.Ref {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Divisions[d].Parent
}

// Move enrols a division at another parent, as an operator at each does.
func (w *World) Move(ctx context.Context, d, to division.Ref) error {
	if err := w.Divisions[to].enter(ctx, d); err != nil {
		return err
	}
	w.mu.Lock()
	w.Divisions[d].Parent = to
	w.mu.Unlock()
	w.Wire.stir()
	return w.Divisions[d].hang(ctx)
}

// hang enters where the division hangs, if its records have it elsewhere.
func (d *Division) hang(ctx context.Context) error {
	parent := d.w.parent(d.Ref)
	if parent.IsZero() {
		return nil
	}
	return d.DB.Update(ctx, func(tx *service.Tx) error {
		have, ok, err := federation.ReadParent(tx)
		if err != nil || ok && have.Ref == parent {
			return err
		}
		if err := federation.SetParent(tx, federation.Parent{Ref: parent}); err != nil {
			return err
		}
		return beginNotes(tx, parent)
	})
}

// rehang does what operators do after a restore from before a move: a division that hangs
// elsewhere by now is enrolled there again, and so are children that came since.
func (d *Division) rehang(ctx context.Context) error {
	if err := d.hang(ctx); err != nil {
		return err
	}
	for _, p := range d.w.Tree {
		if d.w.parent(p.Ref) != d.Ref {
			continue
		}
		err := d.DB.View(ctx, replication.Local, func(v *service.View) error {
			_, err := federation.ReadChild(v, p.Ref)
			return err
		})
		if errors.Is(err, federation.ErrNoChild) {
			err = d.enter(ctx, p.Ref)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mayMove draws a division and where it could hang instead: above it in level, and not below it.
func (w *World) mayMove() (d, to division.Ref, ok bool) {
	d, to = w.Tree[w.Rand(len(w.Tree))].Ref, w.Tree[w.Rand(len(w.Tree))].Ref
	ok = d != to && to.Level < d.Level && w.Divisions[d].Parent != to && !w.Divisions[d].Parent.IsZero() && !w.below(to, d)
	return d, to, ok
}

// Readmit enrols a division again at its parent.
func (w *World) Readmit(ctx context.Context, child division.Ref) error {
	return w.Divisions[w.Divisions[child].Parent].enter(ctx, child)
}

// enter enrols a child.
func (d *Division) enter(ctx context.Context, child division.Ref) error {
	return d.DB.Update(ctx, func(tx *service.Tx) error {
		if err := federation.EnterChild(tx, federation.Child{Ref: child, CA: []byte{1}}); err != nil {
			return err
		}
		return beginNotes(tx, child)
	})
}

// beginNotes forgets which versions a neighbour has told: a new one tells all again.
func beginNotes(tx *service.Tx, neighbour division.Ref) error {
	return tx.Exec(`DELETE FROM figures_fold WHERE neighbour = ?`, neighbour.String())
}
