package federation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

const (
	// trustEvery is how often a division asks for its authority's certificate at least.
	trustEvery = 24 * time.Hour
	// trustRetry is how soon it asks again after a failure on the same line, and tells a
	// child again.
	trustRetry = time.Minute
	// trustPause gathers changes of the division database before they are looked at.
	trustPause = time.Second
	// trustTell bounds how long one child takes to hear that there is something new,
	// tellAtOnce how many are told at once.
	trustTell  = 20 * time.Second
	tellAtOnce = 16
)

// trustChanged is the body with which a parent has its children ask; theirs are JSON.
var trustChanged = []byte("changed")

// Trust asks for and signs authorities' certificates. It is implemented by the node.
type Trust interface {
	// Ask makes what this division sends to its parent to have its authority signed again.
	Ask(ctx context.Context) ([]byte, error)
	// Serve answers what a child's Ask made, on the leader of the division database.
	Serve(ctx context.Context, from division.Ref, body []byte) ([]byte, error)
	// Take checks what the parent answered and stores what has changed.
	Take(ctx context.Context, answer []byte) error
}

// serveTrust answers a child that asks, or notes that the parent wants to be asked.
func (f *Federation) serveTrust(ctx context.Context, from division.Ref, body []byte) ([]byte, error) {
	if f.o.Trust == nil {
		return nil, service.ErrInvalid.With("detail", "this division signs no certificates")
	}
	if !bytes.Equal(body, trustChanged) {
		return f.o.Trust.Serve(ctx, from, body)
	}
	select {
	case f.asked <- struct{}{}:
	default: // It will ask anyway.
	}
	return nil, nil
}

// trustKeeper keeps this division's certificate as its parent would sign it now.
type trustKeeper struct {
	f      *Federation
	db     *service.DB
	up     bool      // The line to the parent, when last looked at.
	asked  time.Time // Last success; zero: ask.
	tried  time.Time
	told   map[division.Ref][sha256.Size]byte // What each child was told of.
	retold map[division.Ref]time.Time         // When a child was told in vain.
}

// runTrust asks the parent at each start of the line, daily, and when it says so; and has
// the children ask when this division's own certificates have changed, because they are
// part of theirs. It returns when ctx ends with the leadership.
func (f *Federation) runTrust(ctx context.Context, env service.Env) error {
	if f.o.Trust == nil {
		<-ctx.Done()
		return nil
	}
	k := trustKeeper{f: f, db: env.DB, told: map[division.Ref][sha256.Size]byte{}, retold: map[division.Ref]time.Time{}}
	for ctx.Err() == nil {
		line, applied := f.o.Wire.Changed(), env.DB.AppliedChanged()
		if err := k.step(ctx); err != nil && ctx.Err() == nil {
			env.Log.Warn("keep the division's certificate as its parent signs it", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-line:
		case <-applied:
		case <-f.asked:
			k.asked, k.tried = time.Time{}, time.Time{}
		case <-time.After(trustRetry):
		}
		wait(ctx, trustPause, nil)
	}
	return nil
}

func (k *trustKeeper) step(ctx context.Context) error {
	var parent Parent
	var enrolled bool
	var children []Child
	if err := k.db.View(ctx, replication.Leader, func(v *service.View) (err error) {
		if parent, enrolled, err = ReadParent(v); err != nil {
			return err
		}
		children, err = ReadChildren(v)
		return err
	}); err != nil {
		return err
	}
	var err error
	up := enrolled && k.f.o.Wire.Connected(parent.Ref)
	if up && !k.up { // At once, also when it was asked in vain just now: the line may be for this alone.
		k.asked, k.tried = time.Time{}, time.Time{}
	}
	if k.up = up; up && time.Since(k.asked) >= trustEvery && time.Since(k.tried) >= trustRetry {
		err = k.ask(ctx, parent.Ref)
	}
	k.tell(ctx, children, digestOf(parent.Chain))
	return err
}

// ask has the parent sign the division's authority again.
func (k *trustKeeper) ask(ctx context.Context, parent division.Ref) error {
	k.tried = time.Now()
	ctx, cancel := context.WithTimeout(ctx, trustRetry)
	defer cancel()
	body, err := k.f.o.Trust.Ask(ctx)
	if err != nil {
		return err
	}
	answer, err := k.f.o.Wire.Call(ctx, parent, KindTrust, body)
	if err != nil {
		return err
	}
	if err := k.f.o.Trust.Take(ctx, answer); err != nil {
		return err
	}
	k.asked = time.Now()
	return nil
}

// tell has each child that is connected ask, once for each chain. A child that is not asks
// when its line is up again.
func (k *trustKeeper) tell(ctx context.Context, children []Child, chain [sha256.Size]byte) {
	var group errgroup.Group
	group.SetLimit(tellAtOnce)
	failed := make([]error, len(children))
	for i, c := range children {
		told, ok := k.told[c.Ref]
		if c.State != Active || ok && told == chain || !k.f.o.Wire.Connected(c.Ref) || time.Since(k.retold[c.Ref]) < trustRetry {
			failed[i] = ErrUnreachable
			continue
		}
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, trustTell)
			defer cancel()
			_, failed[i] = k.f.o.Wire.Call(ctx, c.Ref, KindTrust, trustChanged)
			return nil
		})
	}
	_ = group.Wait() // Errors are in failed.
	for i, c := range children {
		switch {
		case failed[i] == nil:
			k.told[c.Ref] = chain
		case !errors.Is(failed[i], ErrUnreachable):
			k.retold[c.Ref] = time.Now()
		}
	}
}

func digestOf(chain [][]byte) [sha256.Size]byte {
	return sha256.Sum256(bytes.Join(chain, nil))
}
