// Package proc reads what Linux says about this machine and its processes (proc(5)): what
// figures were measured on, and what a process has used.
package proc

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Machine is where figures come from.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory int64  `json:"memory_mib"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

// This is the machine that the program runs on. What cannot be read is "unknown".
func This() Machine {
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

// String is the machine in one line.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %d MiB, Linux %s, %s", m.CPU, m.Cores, m.Memory, m.Kernel, m.Go)
}

// Usage is what a process holds at a moment.
type Usage struct {
	RSS     int64 // Resident memory (VmRSS), MiB.
	Threads int
	Files   int // Open descriptors.
}

// UsageOf reads what a process holds now.
func UsageOf(pid int) (u Usage, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, fmt.Errorf("read about process %d: %w", pid, err)
	}
	u.RSS = kibibytes(string(status), "VmRSS") >> 10
	u.Threads, _ = strconv.Atoi(field(string(status), "Threads"))
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return u, fmt.Errorf("read about process %d: %w", pid, err)
	}
	u.Files = len(files)
	return u, nil
}

// clockTick is the unit of /proc/<pid>/stat: USER_HZ, 100 on every Linux.
const clockTick = 10 * time.Millisecond

// CPUTime is what a process has used so far, user and system.
func CPUTime(pid int) (time.Duration, error) {
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
