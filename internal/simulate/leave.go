package simulate

import (
	"context"
	"time"

	"tongban/division"
	"tongban/federation"
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

// Readmit enrols a division again at its parent.
func (w *World) Readmit(ctx context.Context, child division.Ref) error {
	return w.Divisions[w.Divisions[child].Parent].enter(ctx, child)
}

// enter enrols a child.
func (d *Division) enter(ctx context.Context, child division.Ref) error {
	return d.DB.Update(ctx, func(tx *service.Tx) error {
		return federation.EnterChild(tx, federation.Child{Ref: child, CA: []byte{1}})
	})
}
