package divisions

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tongban/internal/demo"
	"tongban/internal/demo/relay"
)

// Options say how a run is made. A zero field takes the default stated beside it.
type Options struct {
	Duration time.Duration  // 120 s: of load under faults, without the start and the judgement.
	Seed     uint64         // A random one.
	Binary   string         // The running program.
	Keep     bool           // Leave the folder. After a violation it is left anyway.
	Progress *demo.Progress // Says nothing.
}

const (
	applicants = 4                      // At once.
	applyPause = 200 * time.Millisecond // Between two of one applicant.
	lodgePause = 2 * time.Second        // Between two cases at the window.
	slowLine   = "330106"               // The window's: the mails cross it.

	// comeBack bounds how long everything may take to arrive once all is whole.
	comeBack = 4 * time.Minute
	// lookEvery is how often it is looked at then.
	lookEvery = 500 * time.Millisecond
	// tellEvery is how often it is said what has not arrived yet.
	tellEvery = 5 * time.Second
)

// run is one run.
type run struct {
	o      Options
	stage  *demo.Stage
	report Report

	mu       sync.Mutex
	receipts []demo.Receipt
	lodged   []demo.Lodged
}

// Run makes one run. An error says that it could not be made; what it found is in the
// report.
func Run(ctx context.Context, o Options) (Report, error) {
	if o.Duration == 0 {
		o.Duration = 2 * time.Minute
	}
	if o.Seed == 0 {
		o.Seed = 1 + rand.Uint64N(1<<32)
	}
	r := &run{o: o, report: Report{Seed: o.Seed, Faults: map[string]int{}, Violations: []string{}}}
	slow := relay.Village(o.Seed)
	var err error
	if r.stage, err = demo.StartStage(ctx, demo.Setting{Binary: o.Binary, Progress: o.Progress, Slow: &slow, SlowAt: slowLine}); err != nil {
		return r.report, err
	}
	err = r.all(ctx)
	if ctx.Err() != nil {
		err = demo.ErrInterrupted
	}
	keep := o.Keep || err == nil && !r.report.OK()
	if keep {
		r.report.Dir = r.stage.Dir
	}
	return r.report, errors.Join(err, r.stage.Close(keep))
}

// all is the load under faults, and the judgement.
func (r *run) all(ctx context.Context) error {
	n := r.newNemesis(ctx)
	if err := n.backUpAll(); err != nil { // Before anything happened: as old as can be.
		return err
	}
	begun := time.Now()
	stop, cancel := context.WithTimeout(ctx, r.o.Duration)
	defer cancel()
	g, loading := errgroup.WithContext(ctx)
	faults, calm := context.WithCancel(stop)
	defer context.AfterFunc(loading, calm)() // A load that fails ends the faults too.
	for i := range applicants {
		g.Go(func() error { return r.apply(loading, stop, i) })
	}
	g.Go(func() error { return r.lodge(loading, stop) })
	g.Go(func() error {
		defer calm()
		return n.rage(faults)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	r.report.Seconds = time.Since(begun).Seconds()
	r.report.Cases, r.report.Mails = len(r.receipts), len(r.lodged)
	r.o.Progress.Step("all is whole; %d applications and %d lodged cases are acknowledged", r.report.Cases, r.report.Mails)
	return r.judge(ctx)
}

// apply applies until stop ends; what has begun then is carried through.
func (r *run) apply(ctx, stop context.Context, first int) error {
	for n := first; pause(stop, applyPause); n += applicants {
		receipt, err := r.stage.Apply(ctx, n)
		if err != nil {
			return err
		}
		r.mu.Lock()
		r.receipts = append(r.receipts, receipt)
		r.mu.Unlock()
	}
	return nil
}

// lodge lodges cases in the other province until stop ends.
func (r *run) lodge(ctx, stop context.Context) error {
	for n := 0; pause(stop, lodgePause); n++ {
		one, err := r.stage.Lodge(ctx, n)
		if err != nil {
			return err
		}
		r.mu.Lock()
		r.lodged = append(r.lodged, one)
		r.mu.Unlock()
	}
	return nil
}

// pause returns false when ctx has ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// judge waits until everything has arrived, and then looks for what is there twice.
func (r *run) judge(ctx context.Context) error {
	whole := time.Now()
	want := int64(r.report.Cases + r.report.Mails)
	waiting, cancel := context.WithTimeout(ctx, comeBack)
	defer cancel()
	missing := r.arrive(waiting, want)
	for told := whole; missing != "" && pause(waiting, lookEvery); missing = r.arrive(waiting, want) {
		if time.Since(told) >= tellEvery {
			r.o.Progress.Step("%s", missing)
			told = time.Now()
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.report.BackS = time.Since(whole).Seconds()
	if missing != "" {
		r.wrong("%s after all was whole, %s", comeBack, missing)
	}
	for _, d := range r.stage.Levels() {
		have, err := d.Applied(ctx)
		if err != nil {
			return err
		}
		r.report.Lost = max(r.report.Lost, int(want-have))
		r.report.Doubled = max(r.report.Doubled, int(have-want))
		if have != want {
			r.wrong("%s counts %d of %d applications", d.Division.Code, have, want)
		}
	}
	if err := r.stage.District.Settle(ctx); err != nil {
		return err
	}
	if err := r.stage.District.Stop(); err != nil {
		return err
	}
	return r.lookIntoFiles()
}

// arrive says what has not arrived yet; "": everything has.
func (r *run) arrive(ctx context.Context, want int64) string {
	for _, d := range r.stage.Levels() {
		if have, err := d.Applied(ctx); err != nil {
			return fmt.Sprintf("%s does not say what it counts: %v", d.Division.Code, err)
		} else if have != want {
			return fmt.Sprintf("%s counts %d applications, not %d", d.Division.Code, have, want)
		}
	}
	for _, l := range r.lodged {
		if done, why, err := r.stage.Delivered(ctx, l); err != nil {
			return fmt.Sprintf("the window does not say how %s stands: %v", l.Marker(), err)
		} else if !done {
			return fmt.Sprintf("the lodged case of %s is %s", l.Marker(), why)
		}
	}
	return ""
}

// lookIntoFiles looks for every acknowledged case on every node of the district.
func (r *run) lookIntoFiles() error {
	nodes, err := r.stage.Markers()
	if err != nil {
		return err
	}
	var acknowledged []string
	for _, one := range r.receipts {
		acknowledged = append(acknowledged, one.Marker)
	}
	for _, one := range r.lodged {
		acknowledged = append(acknowledged, one.Marker())
	}
	for i, have := range nodes {
		lost, doubled := tally(acknowledged, have)
		if lost+doubled > 0 {
			r.wrong("the files of node %s miss %d cases and have %d twice", r.stage.District.Nodes[i].Name, lost, doubled)
		}
		r.report.Lost, r.report.Doubled = max(r.report.Lost, lost), max(r.report.Doubled, doubled)
	}
	return nil
}

// tally counts the acknowledged cases that a node does not have, and those that it has too
// often, whether they were acknowledged or not.
func tally(acknowledged []string, have map[string]int) (lost, doubled int) {
	for _, marker := range acknowledged {
		if have[marker] == 0 {
			lost++
		}
	}
	for _, n := range have {
		doubled += n - 1
	}
	return lost, doubled
}

func (r *run) wrong(format string, args ...any) {
	r.report.Violations = append(r.report.Violations, fmt.Sprintf(format, args...))
}
