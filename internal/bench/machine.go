package bench

import (
	"context"
	"time"

	"tongban/internal/bench/proc"
	"tongban/internal/demo"
)

// Idle is what one node needs while nobody asks anything of it.
type Idle struct {
	Node    string  `json:"node"`
	Leads   int     `json:"leads"`       // Databases.
	CPU     float64 `json:"cpu_percent"` // Of one core.
	RSS     int64   `json:"rss_mib"`     // Resident memory (VmRSS).
	Threads int     `json:"threads"`
	Files   int     `json:"open_files"`
}

// calmDown precedes the watching of idle nodes: what the import left to do is done.
const calmDown = 3 * time.Second

// box is a process that is watched.
type box struct {
	name  string
	pid   int
	leads int // Databases.
}

// idle watches the nodes while nothing is asked of them.
func (b *bench) idle(ctx context.Context) error {
	if err := pause(ctx, calmDown); err != nil {
		return err
	}
	boxes, err := boxesOf(ctx, b.d, "")
	if err != nil {
		return err
	}
	b.report.Idle, err = watch(ctx, boxes, b.o.Idle, b.o.Progress)
	return err
}

// boxesOf are the processes of a division, their names behind prefix.
func boxesOf(ctx context.Context, d *demo.District, prefix string) ([]box, error) {
	list, err := d.Databases(ctx, d.Nodes[0])
	if err != nil {
		return nil, err
	}
	var boxes []box
	for _, n := range d.Nodes {
		one := box{name: prefix + n.Name, pid: d.PID(n)}
		for _, s := range list {
			if string(s.Leader) == n.Name {
				one.leads++
			}
		}
		boxes = append(boxes, one)
	}
	return boxes, nil
}

// watch is what boxes need in the time that follows, and at its end.
func watch(ctx context.Context, boxes []box, length time.Duration, say *demo.Progress) ([]Idle, error) {
	var before []time.Duration
	start := time.Now()
	for _, one := range boxes {
		used, err := proc.CPUTime(one.pid)
		if err != nil {
			return nil, err
		}
		before = append(before, used)
	}
	for left := length; left > 0; left -= tellIdle {
		if err := pause(ctx, min(left, tellIdle)); err != nil {
			return nil, err
		}
		if left > tellIdle {
			say.Step("watched for %.0f of %.0f s", time.Since(start).Seconds(), length.Seconds())
		}
	}
	var out []Idle
	for i, one := range boxes {
		used, err := proc.CPUTime(one.pid)
		if err != nil {
			return nil, err
		}
		u, err := proc.UsageOf(one.pid)
		if err != nil {
			return nil, err
		}
		idle := Idle{Node: one.name, Leads: one.leads, CPU: 100 * (used - before[i]).Seconds() / time.Since(start).Seconds(),
			RSS: u.RSS, Threads: u.Threads, Files: u.Files}
		out = append(out, idle)
		say.Step("idle node %s: %.1f %% of a core, %d MiB", idle.Node, idle.CPU, idle.RSS)
	}
	return out, nil
}

// tellIdle is how often it is said that boxes are still being watched.
const tellIdle = 10 * time.Second

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
