package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"tongban/internal/demo/page"
	"tongban/service/statistics"
)

const (
	// lookEvery is how often divisions are asked for what the page shows.
	lookEvery = time.Second
	// lookPatience bounds one such question: a dead box must not hold up the others.
	lookPatience = 900 * time.Millisecond
	// failedFor is how long the page shows what did not work.
	failedFor = 30 * time.Second
	// loadCases is how many cases the page's button makes.
	loadCases = 50
	// mostLodged bounds how many lodged cases the page lists.
	mostLodged = 8
)

// live is the tree as the page shows and changes it; Run keeps it up to date.
type live struct {
	t        *Tree
	d        *District // The one that serves.
	clerk    *person
	window   *window
	offers   []Offer
	accounts string
	checker  *checker

	orders chan page.Order // To Run, which waits for what it starts.

	mu     sync.Mutex
	seen   map[*District]sighting
	cutAt  map[*Line]time.Time // Since when a line is cut or whole.
	jobs   []*job              // The oldest first.
	lodged []*lodged           // The oldest first.
	made   int                 // Applications so far: they make applicants unique.
}

// sighting is the last that a division said, and when it could not be asked.
type sighting struct {
	figures *page.Figures
	at      time.Time // Of figures.
	mute    time.Time // First look since then that was in vain; zero: the last one was not.
}

// job is an order on its way.
type job struct {
	page.Order
	done, total int
	begun       time.Time
	err         error
	ended       time.Time
}

// newLive returns the tree for the page. tenants are where the clerk may decide.
func newLive(t *Tree, clerk *person, window *window, offers []Offer, accounts string) *live {
	d := t.At(shownCode)
	l := &live{t: t, d: d, clerk: clerk, window: window, offers: offers, accounts: accounts,
		checker: newChecker(d, clerk), orders: make(chan page.Order, 16), seen: map[*District]sighting{}, cutAt: map[*Line]time.Time{}}
	for _, line := range t.Lines {
		l.cutAt[line] = time.Now()
	}
	return l
}

// Run looks after the tree and carries out orders until ctx ends.
func (l *live) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, d := range l.t.Divisions {
		wg.Go(func() { l.look(ctx, d) })
	}
	wg.Go(func() { l.checker.run(ctx) })
	wg.Go(func() { l.followLodged(ctx) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case o := <-l.orders:
			wg.Go(func() { l.carryOut(ctx, o) })
		}
	}
}

// look asks one division for its figures, every so often.
func (l *live) look(ctx context.Context, d *District) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		asked, cancel := context.WithTimeout(ctx, lookPatience)
		p, err := d.figures(asked)
		cancel()
		l.mu.Lock()
		s := l.seen[d]
		switch {
		case err == nil:
			f := &page.Figures{Applied: int(p.Applied), Decided: int(p.Decided), Age: time.Since(p.AsOf).Seconds()}
			for _, c := range p.Children {
				f.Children = append(f.Children, childOf(c))
			}
			s = sighting{figures: f, at: time.Now()}
		case s.mute.IsZero() && ctx.Err() == nil:
			s.mute = time.Now()
		}
		l.seen[d] = s
		l.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// State implements page.Tree.
func (l *live) State() page.State {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	s := page.State{Lodged: []page.Lodged{}, Jobs: []page.Job{}, Cases: l.checker.counts()}
	for _, d := range l.t.Divisions {
		s.Divisions = append(s.Divisions, l.divisionOf(d, now))
	}
	for _, line := range l.t.Lines {
		c := line.Counters()
		s.Lines = append(s.Lines, page.Line{ID: string(line.Child.Division.Code), Parent: string(line.Parent.Division.Code),
			Cut: line.IsCut(), For: page.Seconds(now.Sub(l.cutAt[line])), Up: c.Up, Down: c.Down, WhileCut: c.WhileCut})
	}
	for i := len(l.lodged) - 1; i >= max(0, len(l.lodged)-mostLodged); i-- {
		s.Lodged = append(s.Lodged, l.lodged[i].shown(now))
	}
	for _, j := range l.jobs {
		one := page.Job{Do: j.Do, At: j.At, Done: j.done, Total: j.total, For: page.Seconds(now.Sub(j.begun))}
		switch {
		case j.err != nil && now.Sub(j.ended) < failedFor:
			one.Err = j.err.Error()
		case !j.ended.IsZero():
			continue
		}
		s.Jobs = append(s.Jobs, one)
	}
	return s
}

// divisionOf is a division as it was last seen; mu is held.
func (l *live) divisionOf(d *District, now time.Time) page.Division {
	out := page.Division{Code: string(d.Division.Code), Level: d.Division.Level.String(), Name: d.Division.Name,
		Full: d.Division.FullName(), English: englishNames()[string(d.Division.Code)]}
	if line := l.t.LineOf(out.Code); line != nil {
		out.Parent = string(line.Parent.Division.Code)
	}
	for _, n := range d.Nodes {
		out.Boxes = append(out.Boxes, page.Box{ID: d.label(n), Name: n.Name, Web: n.URL, PID: d.PID(n), Runs: d.runs(n)})
	}
	s := l.seen[d]
	if s.figures != nil { // Ages go on while nobody answers.
		f := *s.figures
		since := now.Sub(s.at).Seconds()
		f.Age += since
		f.Children = slices.Clone(f.Children)
		for i := range f.Children {
			f.Children[i].Age += since
		}
		out.Figures = &f
	}
	if !s.mute.IsZero() {
		out.Mute = max(0.1, page.Seconds(now.Sub(s.mute)))
	}
	return out
}

// Accounts implements page.Tree.
func (l *live) Accounts() string { return l.accounts }

// Do implements page.Tree.
func (l *live) Do(o page.Order) error {
	if !l.known(o) {
		return page.ErrUnknown
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, j := range l.jobs {
		if j.ended.IsZero() && (j.At == o.At && o.At != "" || j.Do == o.Do && o.At == "") {
			return page.ErrBusy
		}
	}
	select {
	case l.orders <- o:
	default:
		return page.ErrBusy
	}
	l.jobs = slices.DeleteFunc(l.jobs, func(j *job) bool { // What ended is of no more use.
		return !j.ended.IsZero() && (j.err == nil || time.Since(j.ended) >= failedFor)
	})
	l.jobs = append(l.jobs, &job{Order: o, begun: time.Now()})
	return nil
}

// known reports whether what the order names is there.
func (l *live) known(o page.Order) bool {
	switch o.Do {
	case page.Cut, page.Heal:
		return l.t.LineOf(o.At) != nil
	case page.Kill, page.Start:
		d, n := l.box(o.At)
		return n != nil && d.runs(n) == (o.Do == page.Kill)
	case page.Load, page.Lodge:
		return o.At == ""
	}
	return false
}

// box is a box by its ID.
func (l *live) box(id string) (*District, *Node) {
	code, name, _ := strings.Cut(id, "/")
	if d := l.t.At(code); d != nil {
		for _, n := range d.Nodes {
			if n.Name == name {
				return d, n
			}
		}
	}
	return nil, nil
}

// carryOut does what an order says, and notes what became of it.
func (l *live) carryOut(ctx context.Context, o page.Order) {
	l.mu.Lock()
	i := slices.IndexFunc(l.jobs, func(j *job) bool { return j.Order == o && j.ended.IsZero() })
	j := l.jobs[i] // Do has put it there.
	l.mu.Unlock()
	err := l.try(ctx, j)
	if ctx.Err() != nil {
		err = nil // The demonstration ends.
	}
	if err != nil {
		l.t.say.Step("%s %s: %v", o.Do, o.At, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	j.err, j.ended = firstLine(err), time.Now()
}

// firstLine is the error without the log of a process that died.
func firstLine(err error) error {
	if err == nil {
		return nil
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(text)
}

func (l *live) try(ctx context.Context, j *job) error {
	switch j.Do {
	case page.Cut, page.Heal:
		l.switchLine(l.t.LineOf(j.At), j.Do == page.Cut)
		return nil
	case page.Kill:
		d, n := l.box(j.At)
		d.Kill(n)
		l.t.say.Step("killed node %s with SIGKILL", d.label(n))
		return nil
	case page.Start:
		d, n := l.box(j.At)
		d.forgive()
		return d.Run(ctx, n)
	case page.Load:
		return l.load(ctx, j)
	default:
		return l.lodge(ctx)
	}
}

func (l *live) switchLine(line *Line, cut bool) {
	if cut == line.IsCut() {
		return
	}
	if cut {
		line.Cut()
		l.t.say.Step("cut the line %s", line)
	} else {
		line.Heal()
		l.t.say.Step("healed the line %s", line)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cutAt[line] = time.Now()
}

// load makes cases in the district and decides them.
func (l *live) load(ctx context.Context, j *job) error {
	l.mu.Lock()
	first := l.made
	l.made += loadCases
	j.total = loadCases
	l.mu.Unlock()
	ledger := newLedger(0)
	err := l.d.load(ctx, l.offers, batch{prefix: "己", first: first, n: loadCases, then: func(ctx context.Context, r Receipt) error {
		l.checker.add(r)
		err := l.d.decide(ctx, l.clerk, r)
		l.mu.Lock()
		defer l.mu.Unlock()
		j.done++
		return err
	}}, ledger)
	if err != nil {
		return fmt.Errorf("%d of %d cases have a receipt; then: %w", len(ledger.all()), loadCases, err)
	}
	return nil
}

// lodge lodges a case at the window.
func (l *live) lodge(ctx context.Context) error {
	l.mu.Lock()
	n := len(l.lodged) + 1
	l.mu.Unlock()
	one, err := l.window.lodge(ctx, l.d, l.offers[n%len(l.offers)], fmt.Sprintf("庚%05d", n), n)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lodged = append(l.lodged, one)
	return nil
}

// followLodged keeps what is known of lodged cases up to date.
func (l *live) followLodged(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.mu.Lock()
		list := slices.Clone(l.lodged)
		l.mu.Unlock()
		for _, one := range list {
			l.follow(ctx, one)
		}
	}
}

// follow asks once about a case that is not yet settled.
func (l *live) follow(ctx context.Context, one *lodged) {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	l.mu.Lock()
	now := *one
	l.mu.Unlock()
	if now.state != page.Waiting || l.window.look(ctx, &now) != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	*one = now
	if now.state == page.Delivered {
		l.checker.add(Receipt{Number: now.Number, Tenant: now.to, Marker: now.Marker})
	}
}

// childOf is a child as the page shows it.
func childOf(c statistics.Child) page.Child {
	out := page.Child{Code: string(c.Ref.Code), Silent: c.Silent, Known: c.Known}
	if c.Known && c.Decided != nil && c.AsOf != nil {
		out.Decided, out.Age = int(*c.Decided), time.Since(*c.AsOf).Seconds()
	}
	return out
}
