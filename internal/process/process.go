// Package process runs the program's own processes for the demonstration, the measurements
// and the torture: each with its output in a file, ended with this process however that
// ends, and its death reported with the last lines of its log.
package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// stopPatience is how long a process may take to stop in good order: as long as a
	// node says it needs at most.
	stopPatience = 8 * time.Second
	// tailLines is how much of its log a process that died is reported with.
	tailLines = 12
	// maxTail bounds what is read of a log for that, bytes from its end.
	maxTail = 64 << 10
)

// Process is one running program with its output in a file. Its methods may be called
// concurrently.
type Process struct {
	name string // For people.
	log  string // Path.
	cmd  *exec.Cmd
	done chan struct{} // Closed when it has ended; err is then valid.
	err  error

	patience time.Duration // stopPatience; tests have less.

	mu       sync.Mutex
	expected bool // It was told to end.
}

// Start starts binary with args; what it prints is appended to the file log. The
// kernel ends it when this process dies, however that dies.
func Start(name, log, binary string, args ...string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer out.Close() // The child has its own descriptor.
	p := &Process{name: name, log: log, done: make(chan struct{}), patience: stopPatience, cmd: exec.Command(binary, args...)}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = out, out, environment()
	// A group of its own: Ctrl-C in a terminal reaches us alone, and we stop it in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error, 1)
	go func() {
		// The death signal comes when the thread ends that started the child, so that
		// thread stays here until the child is gone (golang.org/issue/27505).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Running reports whether it has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Expect notes that its end is wanted from here on.
func (p *Process) Expect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = true
}

// Death returns why it ended although nobody had asked for that, with the end of its log;
// nil: it runs, or was told to end.
func (p *Process) Death() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Running() || p.expected {
		return nil
	}
	reason := "it ended by itself"
	if p.err != nil {
		reason = p.err.Error()
	}
	return fmt.Errorf("%s (process %d) has died: %s; the end of its log:\n%s", p.name, p.PID(), reason, Tail(p.log, tailLines))
}

// Kill ends it at once (SIGKILL) and waits until it is gone.
func (p *Process) Kill() {
	p.Expect()
	_ = p.cmd.Process.Kill() // Fails when it is gone already.
	<-p.done
}

// Stop ends it in good order (SIGTERM) and waits. When that takes longer than
// stopPatience it is killed, and stop says so.
func (p *Process) Stop() error {
	p.Expect()
	if !p.Running() {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // Fails when it is gone already.
	select {
	case <-p.done:
	case <-time.After(p.patience):
		p.Kill()
		return fmt.Errorf("%s (process %d) did not stop within %s and was killed; the end of its log:\n%s", p.name, p.PID(), p.patience, Tail(p.log, tailLines))
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		return fmt.Errorf("%s (process %d) ended with %w; the end of its log:\n%s", p.name, p.PID(), p.err, Tail(p.log, tailLines))
	}
	return nil
}

// StopAll stops processes at the same time.
func StopAll(list []*Process) error {
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, p := range list {
		wg.Go(func() { errs[i] = p.Stop() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Run runs a command of the binary to its end and returns what it printed on stdout. An
// error holds what it printed on stderr.
func Run(ctx context.Context, binary string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, binary, args...)
	var stderr strings.Builder
	cmd.Stderr, cmd.Env = &stderr, environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		said := strings.TrimSpace(stderr.String())
		if said == "" {
			said = strings.TrimSpace(string(out))
		}
		return out, fmt.Errorf("tongban %s: %w: %s", args[0], err, said)
	}
	return out, nil
}

// environment is this process's without the variables that would configure a node.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "TONGBAN_") })
}

// Tail returns the last n lines of a file, each indented; "(empty)" when there are none.
func Tail(path string, n int) string {
	f, err := os.Open(path)
	if err != nil {
		return "  (" + err.Error() + ")"
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > maxTail {
		if _, err := f.Seek(-maxTail, 2); err != nil {
			return "  (" + err.Error() + ")"
		}
	}
	var lines []string
	for s := bufio.NewScanner(f); s.Scan(); {
		lines = append(lines, "  "+s.Text())
	}
	if len(lines) == 0 {
		return "  (empty)"
	}
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
