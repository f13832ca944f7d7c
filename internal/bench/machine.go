package bench

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
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

// idle watches the nodes while nothing is asked of them.
func (b *bench) idle(ctx context.Context) error {
	if err := pause(ctx, calmDown); err != nil {
		return err
	}
	var before []time.Duration
	start := time.Now()
	for _, n := range b.d.Nodes {
		used, err := cpuTime(b.d.PID(n))
		if err != nil {
			return err
		}
		before = append(before, used)
	}
	if err := pause(ctx, b.o.Idle); err != nil {
		return err
	}
	for i, n := range b.d.Nodes {
		pid := b.d.PID(n)
		used, err := cpuTime(pid)
		if err != nil {
			return err
		}
		one := Idle{Node: n.Name, CPU: 100 * (used - before[i]).Seconds() / time.Since(start).Seconds()}
		if err := one.read(pid); err != nil {
			return err
		}
		b.report.Idle = append(b.report.Idle, one)
	}
	list, err := b.d.Databases(ctx, b.d.Nodes[0])
	if err != nil {
		return err
	}
	for i := range b.report.Idle {
		for _, s := range list {
			if string(s.Leader) == b.report.Idle[i].Node {
				b.report.Idle[i].Leads++
			}
		}
		one := b.report.Idle[i]
		b.o.Progress.Step("idle node %s: %.1f %% of a core, %d MiB", one.Node, one.CPU, one.RSS)
	}
	return nil
}

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
