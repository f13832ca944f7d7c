package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Listener is the process that listens on a TCP port of this machine; false if there is
// none that may be seen. It reads the descriptors of all processes.
func Listener(port int) (pid int, ok bool) {
	inodes := map[string]bool{}
	for _, name := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile("/proc/net/" + name)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if inode, ok := listening(line, port); ok {
				inodes["socket:["+inode+"]"] = true
			}
		}
	}
	if len(inodes) == 0 {
		return 0, false
	}
	files, _ := filepath.Glob("/proc/[0-9]*/fd/*") // Its pattern is right.
	for _, file := range files {
		if target, err := os.Readlink(file); err == nil && inodes[target] {
			pid, err := strconv.Atoi(strings.Split(file, "/")[2])
			return pid, err == nil
		}
	}
	return 0, false
}

// listening is the inode of a line of /proc/net/tcp whose socket listens on the port.
func listening(line string, port int) (inode string, ok bool) {
	const (
		local, state, ino = 1, 3, 9
		listen            = "0A"
	)
	fields := strings.Fields(line)
	if len(fields) <= ino || fields[state] != listen || !strings.HasSuffix(fields[local], fmt.Sprintf(":%04X", port)) {
		return "", false
	}
	return fields[ino], true
}
