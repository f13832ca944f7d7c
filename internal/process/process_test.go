package process

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func shell(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start("the child", filepath.Join(t.TempDir(), "log"), "/bin/sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// awaitLog waits until the process has printed text.
func awaitLog(t *testing.T, p *Process, text string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for !strings.Contains(Tail(p.log, tailLines), text) {
		select {
		case <-deadline:
			t.Fatalf("the child never printed %q", text)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestAProcessThatDiesIsReportedWithItsLastLines(t *testing.T) {
	p := shell(t, "seq 100; echo last words >&2; exit 3")
	<-p.done
	err := p.Death()
	if err == nil {
		t.Fatal("nobody noticed the death")
	}
	for _, wanted := range []string{"the child", "exit status 3", "last words", "  100\n"} {
		if !strings.Contains(err.Error(), wanted) {
			t.Errorf("the report lacks %q: %v", wanted, err)
		}
	}
	if strings.Contains(err.Error(), "  50\n") {
		t.Errorf("the report has more than the end of the log: %v", err)
	}
}

func TestAProcessThatWasToldToEndIsNoDeath(t *testing.T) {
	p := shell(t, `trap 'exit 0' TERM; echo ready; while :; do sleep 0.02; done`)
	awaitLog(t, p, "ready")
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if p.Running() || p.Death() != nil {
		t.Errorf("running %v, death %v", p.Running(), p.Death())
	}
	if err := p.Stop(); err != nil {
		t.Errorf("stopping it twice: %v", err)
	}
}

func TestAProcessThatDoesNotStopIsKilledAndThatIsSaid(t *testing.T) {
	p := shell(t, `trap '' TERM; echo ready; while :; do sleep 0.02; done`)
	awaitLog(t, p, "ready")
	p.patience = 100 * time.Millisecond
	err := p.Stop()
	if err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("stop: %v", err)
	}
	if p.Running() {
		t.Error("it still runs")
	}
}

func TestAProcessThatStopsWithAnErrorIsReported(t *testing.T) {
	p := shell(t, `trap 'echo it hurts; exit 7' TERM; echo ready; while :; do sleep 0.02; done`)
	awaitLog(t, p, "ready")
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "it hurts") {
		t.Errorf("stop: %v", err)
	}
}

func TestACommandThatFailsSaysWhatItSaid(t *testing.T) {
	_, err := Run(context.Background(), "/bin/sh", "-c", "echo the reason >&2; exit 1")
	if err == nil || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("run: %v", err)
	}
}

func TestNoVariableOfTheCallerConfiguresANode(t *testing.T) {
	t.Setenv("TONGBAN_WEB_LISTEN", "192.0.2.1:80")
	p := shell(t, `echo "web=$TONGBAN_WEB_LISTEN. path=$PATH."`)
	<-p.done
	if log := Tail(p.log, 1); !strings.Contains(log, "web=.") || strings.Contains(log, "path=.") {
		t.Errorf("the child saw %s", log)
	}
}
