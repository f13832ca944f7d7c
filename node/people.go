package node

import (
	"net"
	"net/netip"
	"sync"
	"syscall"

	"tongban/node/web"
)

const (
	// maxPeople bounds the open connections of people's port: they must not take the files
	// that the databases need. Each costs about 20 KiB.
	maxPeople = 8192
	// maxPeopleFrom is the share of one network of it; browsers need one connection each.
	maxPeopleFrom = 1024
)

// peopleListener is people's port with bounds on open connections; what is beyond them is
// closed at once.
type peopleListener struct {
	net.Listener
	most int

	mu   sync.Mutex
	all  int
	from map[string]int
}

// limitPeople puts the bounds on l. At most half of the files that this process may open
// are people's.
func limitPeople(l net.Listener) *peopleListener {
	most := maxPeople
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && files.Cur/2 < maxPeople {
		most = int(files.Cur / 2)
	}
	return &peopleListener{Listener: l, most: most, from: map[string]int{}}
}

// Accept implements net.Listener.
func (l *peopleListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c, ok := l.enter(conn); ok {
			return c, nil
		}
		_ = conn.Close()
	}
}

// enter counts the connection; false: there are too many. A front on this machine brings
// everybody's connections.
func (l *peopleListener) enter(conn net.Conn) (net.Conn, bool) {
	address := conn.RemoteAddr().String()
	from := web.Network(address)
	at, err := netip.ParseAddrPort(address)
	here := err == nil && at.Addr().Unmap().IsLoopback()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.most || l.from[from] >= maxPeopleFrom && !here {
		return nil, false
	}
	l.all++
	l.from[from]++
	return &peopleConn{Conn: conn, leave: sync.OnceFunc(func() { l.leave(from) })}, true
}

func (l *peopleListener) leave(from string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.from[from]--; l.from[from] <= 0 {
		delete(l.from, from)
	}
}

type peopleConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *peopleConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
