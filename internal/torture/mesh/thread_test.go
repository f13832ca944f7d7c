package mesh

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lostEnv makes a process of this test leave its main thread in another namespace.
const lostEnv = "TONGBAN_TEST_LOST_MAIN_THREAD"

// TestNodesAreKnownWithTheMainThreadInAnotherNamespace: whoever enters a namespace on a
// thread that is locked for good may have got the main thread, which Go cannot end.
func TestNodesAreKnownWithTheMainThreadInAnotherNamespace(t *testing.T) {
	if os.Getenv(lostEnv) == "" {
		if os.Geteuid() != 0 {
			t.Skip("not run: entering a network namespace needs root")
		}
		cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), lostEnv+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if err := loseMainThread(); err != nil {
		t.Fatal(err)
	}
	_, address := open(t)
	c := dial(t, address)
	say(t, c, "hello")
	if got, err := hear(c, 5, 5*time.Second); got != "hello" {
		t.Errorf("heard %q (%v)", got, err)
	}
}

// loseMainThread lets goroutines take threads until one has the main thread, moves that into
// a namespace of its own, and ends there.
func loseMainThread() error {
	done, others := make(chan error), make(chan struct{})
	defer close(others)
	var take func()
	take = func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			done <- unix.Unshare(unix.CLONE_NEWNET)
			return // Locked.
		}
		go take()
		<-others
		runtime.UnlockOSThread()
	}
	go take()
	return <-done
}
