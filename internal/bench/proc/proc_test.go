package proc

import (
	"net"
	"os"
	"testing"
	"time"
)

func TestTheTimesOfAProcessAreReadWhateverItIsCalled(t *testing.T) {
	got, err := parseCPUTime("4242 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 9 0 100 0 0\n")
	if err != nil || got != 2*time.Second {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "1 (x) R 1 2", "1 (x) R 1 2 3 4 5 6 7 8 9 10 x y 0 0"} {
		if _, err := parseCPUTime(bad); err == nil {
			t.Errorf("%q has times", bad)
		}
	}
	if own, err := CPUTime(os.Getpid()); err != nil || own < 0 {
		t.Errorf("of this process: %v, %v", own, err)
	}
}

func TestThisProcessNeedsMemoryThreadsAndFiles(t *testing.T) {
	u, err := UsageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if u.RSS < 1 || u.Threads < 2 || u.Files < 3 {
		t.Errorf("%+v", u)
	}
	if _, err := UsageOf(0); err == nil {
		t.Error("there is no process 0")
	}
	if m := This(); m.Cores < 1 || m.Memory < 1 || m.Kernel == "unknown" || m.CPU == "" {
		t.Errorf("this machine: %+v", m)
	}
}

func TestWhoListensIsFound(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if pid, ok := Listener(port); !ok || pid != os.Getpid() {
		t.Errorf("process %d, %v listens on %d; this is %d", pid, ok, port, os.Getpid())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if pid, ok := Listener(port); ok {
		t.Errorf("process %d listens on a port that is closed", pid)
	}
}
