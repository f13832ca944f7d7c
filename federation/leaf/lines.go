package leaf

import (
	"time"

	"tongban/division"
)

// This file ends lines of children: kicked, flooding, dumb, or gone.

// kick ends all lines of a child, the handlers of its requests, and its queue.
func (d *down) kick(ref division.Ref) {
	d.mu.Lock()
	d.kicks++
	k := d.children[token(ref)]
	if k != nil {
		for _, l := range k.lines {
			d.drop(l)
		}
		old := k.neighbour
		old.shut()
		if d.ctx.Err() == nil {
			d.work.Go(old.close) // Waits for its handlers.
		}
		k.neighbour = newNeighbour(d.ctx, d.o, ref, d.send)
	}
	d.mu.Unlock()
}

// drop ends a line. One that has not joined yet is dropped as soon as it has. d.mu is held.
func (d *down) drop(l *line) {
	l.kicked = true
	if err := d.e.server.DisconnectClientByID(l.cid); err == nil {
		d.calls.breakOff(&l.peer)
	}
}

// look brings the lines up to date with what the embedded server has, and notes the
// children that have one.
func (d *down) look(connected map[division.Ref]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inspect()
	for _, k := range d.children {
		kept := k.lines[:0]
		for _, l := range k.lines {
			there := d.e.server.GetLeafNode(l.cid) != nil
			if !there && (l.joined || time.Since(l.since) > joinLimit) {
				d.calls.breakOff(&l.peer)
				continue
			}
			l.joined = l.joined || there
			if there && l.kicked {
				d.drop(l)
			}
			if there && !l.kicked && !l.limited && !l.silent.Load() && d.e.acc.SubscriptionInterest("dn."+k.token+".rq."+l.node+"."+kindAlive) {
				connected[k.ref] = true
			}
			kept = append(kept, l)
		}
		clear(k.lines[len(kept):])
		k.lines = kept
	}
}

// inspect asks the embedded server about the lines, each second and while one is new. It
// drops children that claim to be the hub of the connection: the library would then take
// their violations of their rights in silence. And it drops those that bring too much, of
// whatever kind. d.mu is held.
func (d *down) inspect() {
	type owned struct {
		*line
		of *child
	}
	lines, fresh := map[uint64]owned{}, false
	for _, k := range d.children {
		for _, l := range k.lines {
			if !l.kicked {
				lines[l.cid] = owned{l, k}
				fresh = fresh || !l.joined
			}
		}
	}
	if len(lines) == 0 || !fresh && time.Since(d.looked) < time.Second {
		return
	}
	d.looked = time.Now()
	z, err := d.e.server.Leafz(nil)
	if err != nil {
		return // The server is closing.
	}
	for _, info := range z.Leafs {
		l, ok := lines[info.ID]
		switch {
		case !ok:
		case info.IsSpoke:
			d.log.Warn("a child claims to be the hub and is dropped", "division", l.of.ref.String())
			d.drop(l.line)
		case l.floods(info.InMsgs):
			d.bar(l.of)
		}
	}
}

// floods takes the count of messages that the line has brought so far.
func (l *line) floods(brought int64) bool {
	passed := time.Since(l.counted)
	if passed < time.Second {
		return false
	}
	much := !l.counted.IsZero() && float64(brought-l.brought)/passed.Seconds() > maxRate
	l.brought, l.counted = brought, time.Now()
	return much
}

// strike counts a senseless message of a child, and drops one that floods.
func (d *down) strike(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.children[name]
	if k == nil {
		return
	}
	if time.Since(k.second) > time.Second {
		k.second, k.strikes = time.Now(), 0
	}
	if k.strikes++; k.strikes == maxStrikes {
		d.bar(k)
	}
}

// bar drops a child that floods. d.mu is held.
func (d *down) bar(k *child) {
	k.barred = time.Now().Add(penalty)
	d.log.Warn("a child floods and is dropped", "division", k.ref.String(), "penalty", penalty)
	for _, l := range k.lines {
		d.drop(l)
	}
}
