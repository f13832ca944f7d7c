package node

import (
	"net"
	"strconv"
	"testing"
)

// A node's own addresses are chosen before one of them is bound: none may be chosen twice.
func TestANodesFreePortsDiffer(t *testing.T) {
	taken := map[string]bool{}
	for port := lowFreePort; port < highFreePort-200; port++ {
		taken[strconv.Itoa(port)] = true // So that few are left, and chance has to repeat itself.
	}
	seen := map[string]bool{}
	for range 20 {
		address, err := freeAddress("127.0.0.1", taken)
		if err != nil {
			continue // Of the ports that were tried all were taken, which is said.
		}
		_, port, err := net.SplitHostPort(address)
		if err != nil || seen[port] || !taken[port] {
			t.Fatalf("%s was chosen after %v: %v", address, seen, err)
		}
		seen[port] = true
	}
	if len(seen) < 2 {
		t.Errorf("%d of 20 ports were found", len(seen))
	}
}
