package mesh

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// owner finds the node whose process has the socket with this address at its own end.
func (m *Mesh) owner(address net.Addr) (string, bool) {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return "", false
	}
	inodes := inodesOf(tcp)
	if len(inodes) == 0 {
		return "", false
	}
	m.mu.Lock()
	pids := maps.Clone(m.pids)
	m.mu.Unlock()
	for _, inode := range inodes {
		for node, pid := range pids {
			if holds(pid, "socket:["+inode+"]") {
				return node, true
			}
		}
	}
	return "", false
}

// inodesOf finds local IPv4 sockets in the kernel's table (proc_net_tcp in the kernel's
// documentation): the second field is the own address, the tenth the inode, 0 once nobody
// has it. An address is used again for another destination before its last use is forgotten.
func inodesOf(a *net.TCPAddr) (inodes []string) {
	ip := a.IP.To4()
	// Of this thread: /proc/net is the main thread's, which may have been left in another
	// namespace.
	f, err := os.Open("/proc/thread-self/net/tcp")
	if err != nil || ip == nil {
		return nil
	}
	defer f.Close()
	own := fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], a.Port)
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Fields(s.Text()); len(fields) > 9 && fields[1] == own && fields[9] != "0" {
			inodes = append(inodes, fields[9])
		}
	}
	return inodes
}

// holds reports whether a process has the file open.
func holds(pid int, file string) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false // It has ended.
	}
	for _, e := range entries {
		if link, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && link == file {
			return true
		}
	}
	return false
}
