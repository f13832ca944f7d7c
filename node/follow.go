package node

import (
	"context"
	"errors"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"tongban/node/join"
	"tongban/replication"
	"tongban/service"
	"tongban/tenancy"
)

// followNodes keeps the address book as the directory has the nodes.
func (n *Node) followNodes(ctx context.Context) error {
	for {
		changed := n.tree.Changed()
		if nodes := n.tree.Nodes(); len(nodes) > 0 {
			peers := make([]join.Peer, len(nodes))
			for i, one := range nodes {
				peers[i] = peerFrom(one)
			}
			if err := n.book.Set(peers); err != nil {
				n.log.Error("keep the address book", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// enter brings into the division database what only this node knows: what init made, and
// where it is to be reached now. It returns when that is done.
func (n *Node) enter(ctx context.Context) error {
	for {
		err := n.tree.ReadyDivision(ctx)
		if err == nil {
			err = n.enterOnce(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			return nil
		case errors.Is(err, service.ErrNewerData):
			return err
		}
		n.log.Debug("enter this node in the division's records, will try again", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryFounding):
		}
	}
}

func (n *Node) enterOnce(ctx context.Context) error {
	if n.mark.Founder && len(n.mark.FirstBoot) > 0 {
		if err := n.command(ctx, orderFound, foundOrder{Sealed: n.keys.Sealed, Recovery: n.keys.Recovery,
			Certificate: n.keys.Certificate.Raw, FirstBoot: n.mark.FirstBoot}, nil); err != nil {
			return err
		}
		n.mark.FirstBoot = nil
		if err := n.mark.write(n.cfg.Data); err != nil {
			return err
		}
	}
	self := n.self()
	var listed bool
	err := n.division().View(ctx, replication.Local, func(v *service.View) error {
		nodes, err := tenancy.ReadNodes(v)
		for _, one := range nodes {
			listed = listed || one.ID == self.ID && one.Address == self.Address && one.Web == self.Web
		}
		return err
	})
	if err == nil && !listed {
		err = n.command(ctx, orderMove, moveOrder{Address: self.Address, Web: self.Web}, nil)
	}
	if err != nil {
		return err
	}
	return n.tellLink(ctx)
}

// States for systemd (sd_notify(3)); without systemd they go nowhere.
const (
	stateReady    = daemon.SdNotifyReady
	stateStopping = daemon.SdNotifyStopping
)

func notify(state string) { _, _ = daemon.SdNotify(false, state) }

// watchdog tells systemd twice per period that the process is alive.
func watchdog(ctx context.Context) error {
	period, err := daemon.SdWatchdogEnabled(false)
	if err != nil || period == 0 {
		return nil
	}
	tick := time.NewTicker(period / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			notify(daemon.SdNotifyWatchdog)
		}
	}
}
