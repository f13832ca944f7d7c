package bench

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"tongban/internal/demo"
)

// Machine is where the figures come from.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory int64  `json:"memory_mib"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

func thisMachine() Machine {
	m := Machine{CPU: "unknown", Cores: runtime.NumCPU(), Kernel: firstLine("/proc/sys/kernel/osrelease"), Go: runtime.Version()}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if name := field(string(info), "model name"); name != "" {
			m.CPU = name
		}
	}
	if info, err := os.ReadFile("/proc/meminfo"); err == nil {
		m.Memory = kibibytes(string(info), "MemTotal") >> 10
	}
	return m
}

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
		used, err := cpuTime(one.pid)
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
		used, err := cpuTime(one.pid)
		if err != nil {
			return nil, err
		}
		idle := Idle{Node: one.name, Leads: one.leads, CPU: 100 * (used - before[i]).Seconds() / time.Since(start).Seconds()}
		if err := idle.read(one.pid); err != nil {
			return nil, err
		}
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

// read fills in what /proc says about the process now.
func (i *Idle) read(pid int) error {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return fmt.Errorf("read about process %d: %w", pid, err)
	}
	i.RSS = kibibytes(string(status), "VmRSS") >> 10
	i.Threads, _ = strconv.Atoi(field(string(status), "Threads"))
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return fmt.Errorf("read about process %d: %w", pid, err)
	}
	i.Files = len(files)
	return nil
}

// clockTick is the unit of /proc/<pid>/stat: USER_HZ, 100 on every Linux.
const clockTick = 10 * time.Millisecond

// cpuTime is what a process has used so far, user and system.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read about process %d: %w", pid, err)
	}
	return parseCPUTime(string(text))
}

// parseCPUTime reads fields 14 and 15 of proc(5)'s stat; the name in field 2 may hold
// blanks and brackets.
func parseCPUTime(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("read a process's times: %q has too few fields", stat)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("read a process's times: %q has no numbers there", stat)
	}
	return time.Duration(user+system) * clockTick, nil
}

// field is the value of the first "name : value" line of a file of /proc; "" without one.
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// kibibytes is the number of a "name: n kB" line; 0 without one.
func kibibytes(text, name string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSuffix(field(text, name), " kB"), 10, 64)
	return n
}

func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}
