package federation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

const (
	// lookPause gathers changes of the division database that come close together.
	lookPause = 20 * time.Millisecond
	// lookAgain is how soon a look that failed is repeated.
	lookAgain = time.Second
	// maxChunk, firstChunk and leastChunk bound the rows that one transaction folds, and
	// chunkBytes their keys and payloads: a closure has 100 ms, an entry 1 MiB, and a fold
	// may write each row several times.
	maxChunk, firstChunk, leastChunk = 500, 250, 8
	chunkBytes                       = 128 << 10
)

// feeds is what the feeds' workers share in memory; a new leadership begins without.
type feeds struct {
	*coder
	own         []service.Feed // The federation's.
	definitions func() []service.Definition
	once        sync.Once
	list        []service.Feed
	names       map[string]service.Feed

	large chan struct{} // See maxLarge.
	rows  atomic.Int64  // Of the next chunk.
	kick  chan struct{} // The beat should look at once.
	retry atomic.Bool   // Rows that wait should be tried again.
	// Perhaps there is something that a former neighbour told.
	strays atomic.Bool

	mu        sync.Mutex
	heads     map[service.Stream]int64
	move      map[service.Stream]chan struct{}
	confirmed map[division.Ref]time.Time // Not stored yet.
	turns     map[division.Ref]turn
	silent    map[division.Ref]bool // Whose next confirmation the beat waits for.
}

// turn is the newest request of a neighbour's sender.
type turn struct {
	run string
	n   int64
}

func newFeeds(own []service.Feed, definitions func() []service.Definition) *feeds {
	f := &feeds{coder: newCoder(), own: own, definitions: definitions, kick: make(chan struct{}, 1), large: make(chan struct{}, maxLarge),
		heads: map[service.Stream]int64{}, move: map[service.Stream]chan struct{}{},
		confirmed: map[division.Ref]time.Time{}, turns: map[division.Ref]turn{}}
	f.rows.Store(firstChunk)
	return f
}

// load takes the feeds of all services; the federation's own come first.
func (f *feeds) load() {
	f.list = slices.Clone(f.own)
	if f.definitions != nil {
		for _, d := range f.definitions() {
			if d.Name != "federation" {
				f.list = append(f.list, d.Feeds...)
			}
		}
	}
	f.names = map[string]service.Feed{}
	for _, one := range f.list {
		f.names[one.Name] = one
	}
}

func (f *feeds) all() []service.Feed {
	f.once.Do(f.load)
	return f.list
}

func (f *feeds) byName(name string) (service.Feed, bool) {
	f.once.Do(f.load)
	one, ok := f.names[name]
	return one, ok
}

// chunk is how many of the rows the next transaction takes; at least one, if there is one.
func (f *feeds) chunk(rows []service.FeedRow) int {
	most, size := min(int(f.rows.Load()), len(rows)), 0
	for i, r := range rows[:most] {
		size += len(r.Key) + len(r.Payload)
		if size > chunkBytes && i > 0 {
			return i
		}
	}
	if most == int(f.rows.Load()) { // A full one: the next may be a little larger.
		f.rows.Store(min(int64(most+most/16+1), maxChunk))
	}
	return most
}

// slower has later chunks be no larger than n, if rows were too many for one transaction.
func (f *feeds) slower(err error, n int) {
	if fold := (*foldError)(nil); !errors.As(err, &fold) {
		f.rows.Store(max(int64(n), leastChunk))
	}
}

// confirm notes that a neighbour has nothing newer. A request that was overtaken by a later
// one of the same sender confirms nothing.
func (f *feeds) confirm(from division.Ref, o offer, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.turns[from]
	if last.run == o.Run && last.n >= o.Turn {
		return
	}
	f.turns[from] = turn{o.Run, o.Turn}
	f.confirmed[from] = now
	if f.silent[from] {
		f.hurry()
	}
}

// hurry has the beat look at once.
func (f *feeds) hurry() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// moved returns a channel that is closed when the stream has a new version.
func (f *feeds) moved(s service.Stream) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.move[s] == nil {
		f.move[s] = make(chan struct{})
	}
	return f.move[s]
}

// head tells those who wait on a stream that it has moved.
func (f *feeds) head(s service.Stream, version int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.heads[s] == version {
		return
	}
	f.heads[s] = version
	if f.move[s] != nil {
		close(f.move[s])
		f.move[s] = nil
	}
}

// runFeeds sends rows to every neighbour until ctx ends with the leadership.
func (f *Federation) runFeeds(ctx context.Context, env service.Env) error {
	if err := f.refold(ctx, env.DB); err != nil {
		return fmt.Errorf("fold what waited for this program: %w", err)
	}
	if err := f.enterSelf(ctx, env.DB); err != nil {
		env.Log.Warn("enter this division in its directory", "err", err) // The next beat tries again.
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { f.beat(ctx, env.DB) })
	s := senders{f: f, db: env.DB, running: map[neighbour]func(){}}
	defer s.stop()
	for ctx.Err() == nil {
		changed := env.DB.AppliedChanged()
		if err := s.look(ctx); err != nil && ctx.Err() == nil {
			env.Log.Warn("look at the neighbours", "err", err)
			wait(ctx, lookAgain, nil)
			continue
		}
		select {
		case <-ctx.Done():
		case <-changed:
			wait(ctx, lookPause, nil)
		}
	}
	return nil
}

// neighbour is one to whom rows go, and in which stream.
type neighbour struct {
	ref    division.Ref
	stream service.Stream
}

// senders are the goroutines that send, one a neighbour.
type senders struct {
	f       *Federation
	db      *service.DB
	running map[neighbour]func() // Stops it and waits.
}

// look reads the heads of the streams and the neighbours, and starts and stops senders.
func (s *senders) look(ctx context.Context) error {
	wanted := map[neighbour]bool{}
	heads := map[service.Stream]int64{}
	if err := s.db.View(ctx, replication.Local, func(v *service.View) error {
		for _, stream := range []service.Stream{service.Up, service.Down} {
			head, err := headOf(v, stream)
			if err != nil {
				return err
			}
			heads[stream] = head
		}
		return readNeighbours(v, wanted)
	}); err != nil {
		return err
	}
	for stream, head := range heads {
		s.f.feeds.head(stream, head)
	}
	for one, stop := range s.running {
		if !wanted[one] {
			stop()
			delete(s.running, one)
			s.f.feeds.strays.Store(true)
			s.f.feeds.hurry()
		}
	}
	for one := range wanted {
		if s.running[one] == nil {
			s.start(ctx, one)
			s.f.feeds.strays.Store(true)
			s.f.feeds.hurry()
		}
	}
	return nil
}

func (s *senders) start(ctx context.Context, to neighbour) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.f.newSender(s.db, to.ref, to.stream).work(ctx) })
	s.running[to] = func() { cancel(); wg.Wait() }
}

func (s *senders) stop() {
	for _, stop := range s.running {
		stop()
	}
}

// readNeighbours adds the parent and the active children.
func readNeighbours(q service.Querier, into map[neighbour]bool) error {
	parent, ok, err := ReadParent(q)
	if err != nil {
		return err
	}
	if ok {
		into[neighbour{parent.Ref, service.Up}] = true
	}
	rows, err := q.Query(`SELECT ref FROM federation_child WHERE state = ? ORDER BY ref`, string(Active)) // Not their certificates: this runs with each change.
	if err != nil {
		return fmt.Errorf("read the active children: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var child division.Ref
		if err := scanRefs(rows, &child); err != nil {
			return err
		}
		into[neighbour{child, service.Down}] = true
	}
	return rows.Err()
}

// jitter is d, half as long again or half as long.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }
