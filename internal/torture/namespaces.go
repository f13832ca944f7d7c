package torture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tongban/internal/torture/mesh"
)

// namespaces is a network of Linux network namespaces (root): one for each node, and a
// router between them, which drops what a rule of its policy routing says. Everything that
// the nodes say to each other crosses it, the gossip too, and the kernel's own TCP meets
// the loss.
type namespaces struct {
	prefix string // Of the names, so that two runs do not meet.

	mu    sync.Mutex
	nodes []string // The place in the list is the third part of the address.
	rules map[mesh.Way]bool
}

// newNamespaces makes the router; an error says why this machine has none.
func newNamespaces() (*namespaces, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces need root")
	}
	n := &namespaces{prefix: fmt.Sprintf("tb%d", os.Getpid()), rules: map[mesh.Way]bool{}}
	err := errors.Join(ip("netns", "add", n.router()), n.in(n.router(), "link", "set", "lo", "up"))
	if err == nil {
		err = n.sysctl()
	}
	if err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// sysctl lets the router forward.
func (n *namespaces) sysctl() error {
	return n.inside(n.router(), func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
	})
}

func (n *namespaces) router() string           { return n.prefix + "-r" }
func (n *namespaces) space(node string) string { return n.prefix + "-" + node }

// address is where a node is.
func (n *namespaces) address(node string) string { return fmt.Sprintf("10.77.%d.2", n.place(node)) }

func (n *namespaces) place(node string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, one := range n.nodes {
		if one == node {
			return i + 1
		}
	}
	n.nodes = append(n.nodes, node)
	return len(n.nodes)
}

func (n *namespaces) addresses(node string) ([]string, error) {
	i, space, router := n.place(node), n.space(node), n.router()
	gate, own := fmt.Sprintf("10.77.%d.1", i), n.address(node)
	far, near := fmt.Sprintf("%s-%d", n.prefix, i), "eth0"
	for _, step := range []func() error{
		func() error { return ip("netns", "add", space) },
		func() error { return n.in(space, "link", "set", "lo", "up") },
		func() error {
			return n.in(router, "link", "add", far, "type", "veth", "peer", "name", near, "netns", space)
		},
		func() error { return n.in(router, "addr", "add", gate+"/30", "dev", far) },
		func() error { return n.in(router, "link", "set", far, "up") },
		func() error { return n.in(space, "addr", "add", own+"/30", "dev", near) },
		func() error { return n.in(space, "link", "set", near, "up") },
		func() error { return n.in(space, "route", "add", "default", "via", gate) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return []string{"--web", "127.0.0.1:8080", "--listen", own + ":7301", "--gossip", own + ":7302", "--link", own + ":7303"}, nil
}

func (n *namespaces) made(string, string) {}

// command enters by nsenter(1): "ip netns exec" would make mounts of its own, which keep a
// file system alive that is to be unmounted.
func (n *namespaces) command(node, binary string, args []string) (string, []string) {
	return "nsenter", append([]string{"--net=/run/netns/" + n.space(node), binary}, args...)
}

func (n *namespaces) runs(string, int) {}

func (n *namespaces) settled() {}

func (n *namespaces) rule(verb string, w mesh.Way) error {
	return n.in(n.router(), "rule", verb, "from", n.address(w.From), "to", n.address(w.To), "blackhole")
}

func (n *namespaces) cut(ways ...mesh.Way) error { return n.change(true, "add", ways) }

func (n *namespaces) heal(_ bool, ways ...mesh.Way) error { return n.change(false, "del", ways) }

func (n *namespaces) change(dropped bool, verb string, ways []mesh.Way) error {
	var errs []error
	for _, w := range ways {
		n.mu.Lock()
		same := n.rules[w] == dropped
		n.rules[w] = dropped
		n.mu.Unlock()
		if !same {
			errs = append(errs, n.rule(verb, w))
		}
	}
	return errors.Join(errs...)
}

// slow: there is no netem here.
func (n *namespaces) slow(time.Duration, time.Duration, float64, ...mesh.Way) error {
	return errCannot
}

// dial makes the socket in the node's namespace; a socket stays in the one that it was
// made in (network_namespaces(7)).
func (n *namespaces) dial(node string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err = n.inside(n.space(node), func() error {
			c, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return c, err
	}
}

// inside runs fn on a thread that is in a namespace. The thread ends with it: a thread
// that could not go back would take others along.
func (n *namespaces) inside(space string, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // Never unlocked: the runtime ends the thread with the goroutine.
		f, err := os.Open("/run/netns/" + space)
		if err == nil {
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
			_ = f.Close()
		}
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	return <-done
}

func (n *namespaces) close() error {
	var errs []error
	for _, node := range n.nodes {
		errs = append(errs, ip("netns", "del", n.space(node)))
	}
	return errors.Join(append(errs, ip("netns", "del", n.router()))...)
}

// in runs ip(8) in a namespace.
func (n *namespaces) in(space string, args ...string) error {
	return ip(append([]string{"-n", space}, args...)...)
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
