package torture

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"tongban/internal/torture/mesh"
)

// Kinds of faults, as a report counts them.
const (
	Kill      = "kill"      // SIGKILL of the leader's process, a follower's, or all.
	Stop      = "stop"      // SIGSTOP for some seconds.
	Partition = "partition" // Halves, one-way, ring, one line, flapping.
	Delay     = "delay"     // 100–300 ms each way.
	Loss      = "loss"      // One piece in five is sent again.
	PowerCut  = "power cut" // Of one machine, or of all at once.
	FullDisk  = "full disk"
	DiskError = "disk error" // Every write and fsync fails, while the process and its lines live.
	Clock     = "clock"      // Set forward or back.
)

// Kinds are all kinds, in the order of a report.
func Kinds() []string {
	return []string{Kill, Stop, Partition, Delay, Loss, PowerCut, FullDisk, DiskError, Clock}
}

// fault is one way to break something. It returns when all is whole again.
type fault struct {
	kind, how string
	do        func(ctx context.Context, n *nemesis) error
}

// faults are all ways, in a fixed order: the seed chooses among them.
func faults() []fault {
	return []fault{
		{Kill, "the leader", killLeader},
		{Kill, "a follower", killFollower},
		{Kill, "all", killAll},
		{Kill, "the leader, cut off", killCutOff},
		{Stop, "the leader", stopLeader},
		{Stop, "a follower", stopFollower},
		{Partition, "the leader alone", cutLeader},
		{Partition, "a follower alone", cutFollower},
		{Partition, "nobody hears the leader", leaderMute},
		{Partition, "the leader hears nobody", leaderDeaf},
		{Partition, "one line", cutLine},
		{Partition, "ring", ring},
		{Partition, "all alone", allAlone},
		{Partition, "flapping", flapping},
		{Delay, "all lines", slowLines(100*time.Millisecond, 50*time.Millisecond, 0)},
		{Delay, "the leader's lines", slowLeader},
		{Loss, "all lines", slowLines(0, 0, 0.2)},
		{PowerCut, "the leader", powerLeader},
		{PowerCut, "a follower", powerFollower},
		{PowerCut, "all", powerAll},
		{FullDisk, "the leader", fillLeader},
		{FullDisk, "a follower", fillFollower},
		{DiskError, "the leader", failLeader},
		{DiskError, "a follower", failFollower},
	}
}

func killLeader(ctx context.Context, n *nemesis) error   { return n.kill(ctx, n.leader(ctx)) }
func killFollower(ctx context.Context, n *nemesis) error { return n.kill(ctx, n.follower(ctx)) }

func killAll(ctx context.Context, n *nemesis) error { return n.kill(ctx, n.cluster.boxes...) }

// kill kills and starts again, after a while or at once.
func (n *nemesis) kill(ctx context.Context, boxes ...*box) error {
	for _, b := range boxes {
		b.kill()
	}
	if n.random.IntN(2) == 0 {
		n.hold(ctx, 200*time.Millisecond, 3*time.Second)
	}
	return n.restart(boxes...)
}

// killCutOff kills a leader that the others cannot hear, so that what it has in hand goes
// with it, and lets it come back when they have another.
func killCutOff(ctx context.Context, n *nemesis) error {
	b := n.leader(ctx)
	ways := between([]string{b.name}, names(n.cluster.others(b)))
	if err := n.cut(ways...); err != nil {
		return err
	}
	n.hold(ctx, 100*time.Millisecond, time.Second)
	b.kill()
	n.hold(ctx, 500*time.Millisecond, 3*time.Second)
	return errors.Join(n.heal(ways...), n.restart(b))
}

func stopLeader(ctx context.Context, n *nemesis) error   { return n.stop(ctx, n.leader(ctx)) }
func stopFollower(ctx context.Context, n *nemesis) error { return n.stop(ctx, n.follower(ctx)) }

// stop stops a process and lets it go on, believing what it believed.
func (n *nemesis) stop(ctx context.Context, b *box) error {
	if err := b.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	n.hold(ctx, time.Second, n.long)
	return b.signal(syscall.SIGCONT)
}

func cutLeader(ctx context.Context, n *nemesis) error   { return n.alone(ctx, n.leader(ctx)) }
func cutFollower(ctx context.Context, n *nemesis) error { return n.alone(ctx, n.follower(ctx)) }

// alone cuts one node off both ways, and asks it meanwhile.
func (n *nemesis) alone(ctx context.Context, boxes ...*box) error {
	var ways []mesh.Way
	for _, b := range boxes {
		ways = append(ways, between([]string{b.name}, names(n.cluster.others(b)))...)
	}
	if err := n.cut(ways...); err != nil {
		return err
	}
	held, stop := context.WithCancel(ctx)
	asked := n.askMinority(held, boxes)
	n.hold(ctx, minorityPatience+time.Second, minorityPatience+n.long)
	stop()
	asked()
	return n.heal(ways...)
}

func allAlone(ctx context.Context, n *nemesis) error { return n.alone(ctx, n.cluster.boxes...) }

func leaderMute(ctx context.Context, n *nemesis) error {
	b := n.leader(ctx)
	return n.holdCut(ctx, toward([]string{b.name}, names(n.cluster.others(b))))
}

func leaderDeaf(ctx context.Context, n *nemesis) error {
	b := n.leader(ctx)
	return n.holdCut(ctx, toward(names(n.cluster.others(b)), []string{b.name}))
}

func cutLine(ctx context.Context, n *nemesis) error {
	b := n.leader(ctx)
	others := n.cluster.others(b)
	return n.holdCut(ctx, between([]string{b.name}, names(others[n.random.IntN(len(others)):][:1])))
}

// ring lets each node be heard by one other only.
func ring(ctx context.Context, n *nemesis) error {
	list := names(n.cluster.boxes)
	var ways []mesh.Way
	for i, from := range list {
		ways = append(ways, mesh.Way{From: from, To: list[(i+1)%len(list)]})
	}
	return n.holdCut(ctx, ways)
}

func (n *nemesis) holdCut(ctx context.Context, ways []mesh.Way) error {
	if err := n.cut(ways...); err != nil {
		return err
	}
	n.hold(ctx, time.Second, n.long)
	return n.heal(ways...)
}

// flapping cuts and heals a node's lines every 200 ms.
func flapping(ctx context.Context, n *nemesis) error {
	b := n.leader(ctx)
	ways := between([]string{b.name}, names(n.cluster.others(b)))
	for range 4 + n.random.IntN(8) {
		if err := n.cut(ways...); err != nil {
			return err
		}
		wait(ctx, 200*time.Millisecond)
		if err := n.heal(ways...); err != nil {
			return err
		}
		wait(ctx, 200*time.Millisecond)
	}
	return nil
}

func slowLines(delay, jitter time.Duration, loss float64) func(context.Context, *nemesis) error {
	return func(ctx context.Context, n *nemesis) error {
		return n.holdSlow(ctx, delay, jitter, loss, between(names(n.cluster.boxes), names(n.cluster.boxes)))
	}
}

func slowLeader(ctx context.Context, n *nemesis) error {
	b := n.leader(ctx)
	return n.holdSlow(ctx, 300*time.Millisecond, 100*time.Millisecond, 0, between([]string{b.name}, names(n.cluster.others(b))))
}

func (n *nemesis) holdSlow(ctx context.Context, delay, jitter time.Duration, loss float64, ways []mesh.Way) error {
	if err := n.cluster.net.slow(delay, jitter, loss, ways...); err != nil {
		return err
	}
	n.hold(ctx, time.Second, n.long)
	return n.heal(ways...)
}

func powerLeader(ctx context.Context, n *nemesis) error   { return n.power(ctx, n.leader(ctx)) }
func powerFollower(ctx context.Context, n *nemesis) error { return n.power(ctx, n.follower(ctx)) }

func powerAll(ctx context.Context, n *nemesis) error { return n.power(ctx, n.cluster.boxes...) }

// power cuts the power of machines: their lines go silent, what is not synced is gone, and
// nothing is heard of the processes' end. Then they boot.
func (n *nemesis) power(ctx context.Context, boxes ...*box) (err error) {
	if len(boxes) == 0 {
		return nil
	}
	var ways []mesh.Way
	for _, b := range boxes {
		ways = append(ways, between([]string{b.name}, names(n.cluster.others(b)))...)
	}
	end := n.cuts.begin(n.now())
	for _, b := range boxes {
		b.expect()
	}
	errs := []error{n.cut(ways...)}
	for _, b := range boxes {
		errs = append(errs, b.disk.cutPower())
	}
	for _, b := range boxes {
		b.kill()
	}
	end(n.now())
	if n.random.IntN(2) == 0 {
		n.hold(ctx, 200*time.Millisecond, 3*time.Second)
	}
	for _, b := range boxes {
		errs = append(errs, b.disk.remount())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	// What waited on the lines was of a machine that is no more.
	return errors.Join(n.cluster.net.heal(true, ways...), n.restart(boxes...))
}

func fillLeader(ctx context.Context, n *nemesis) error   { return n.fill(ctx, n.leader(ctx)) }
func fillFollower(ctx context.Context, n *nemesis) error { return n.fill(ctx, n.follower(ctx)) }

// fill fills a disk and gives the space back. The node must go on without a restart.
func (n *nemesis) fill(ctx context.Context, b *box) error {
	if err := b.disk.fill(); err != nil {
		return err
	}
	n.hold(ctx, 2*time.Second, n.long+2*time.Second)
	if err := b.disk.free(); err != nil {
		return fmt.Errorf("free the disk of %s: %w", b.name, err)
	}
	return nil
}

func failLeader(ctx context.Context, n *nemesis) error   { return n.failDisk(ctx, n.leader(ctx)) }
func failFollower(ctx context.Context, n *nemesis) error { return n.failDisk(ctx, n.follower(ctx)) }

// failPatience is within which a process must end whose disk fails.
const failPatience = 20 * time.Second

// failDisk lets every write and fsync of a node fail. Its process must end by itself, for it
// can vouch for nothing any more; what it has said until then counts. Then it is started
// again, on a disk that lacks what was not synced.
func (n *nemesis) failDisk(ctx context.Context, b *box) error {
	n.mu.Lock()
	n.failing = true
	n.mu.Unlock()
	b.expect()
	if err := b.disk.cutPower(); err != nil {
		return err
	}
	for end := time.Now().Add(failPatience); !b.ended() && time.Now().Before(end); {
		wait(context.WithoutCancel(ctx), pollEvery)
	}
	if !b.ended() {
		n.wrong("disk error: %s goes on %s after every write began to fail", b.name, failPatience)
		b.kill()
	}
	n.mu.Lock()
	n.failing = false
	n.mu.Unlock()
	if err := b.disk.remount(); err != nil {
		return err
	}
	return n.restart(b)
}
