package replication_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets more tests run beside each other than there are processors: most of their
// time they wait for elections.
func TestMain(m *testing.M) {
	if dir := os.Getenv(powerEnv); dir != "" { // This is a node of TestPowerCut.
		fmt.Fprintln(os.Stderr, powerNode(dir))
		os.Exit(1)
	}
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		_ = flag.Set("test.parallel", "6")
	}
	goleak.VerifyTestMain(m)
}
