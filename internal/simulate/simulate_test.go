package simulate_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/internal/simulate"
	"tongban/replication"
	"tongban/service"
)

func ref(text string) division.Ref {
	r, err := division.ParseRef(text)
	if err != nil {
		panic(err)
	}
	return r
}

var (
	nation   = division.Nation
	sichuan  = ref("province/510000")
	guangan  = ref("city/511600")
	district = ref("county/511602")
	qianfeng = ref("county/511603")
	zhejiang = ref("province/330000")
	hangzhou = ref("city/330100")
)

// tree is nation, two provinces, a city below each, and two counties below one.
var tree = []simulate.Place{
	{Ref: nation}, {sichuan, nation}, {guangan, sichuan}, {district, guangan}, {qianfeng, guangan},
	{zhejiang, nation}, {hangzhou, zhejiang},
}

// branch is a city with a county and what is above: the shortest that relays.
var branch = tree[:4]

var definitions = []service.Definition{simulate.Figures()}

var template string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "simulate")
	if err == nil {
		template, err = simulate.Prepare(context.Background(), dir, definitions)
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare the simulation:", err)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// story is a world with what a test does to it.
type story struct {
	*simulate.World
	t    testing.TB
	seed uint64
}

// run tells a story in a bubble of its own, and ends it.
func run(t *testing.T, seed uint64, places []simulate.Place, chance simulate.Chance, tell func(s story)) {
	t.Helper()
	runWith(t, simulate.Options{Seed: seed, Tree: places, Chance: chance}, tell)
}

// runWith is run with other options; folder, template and services are filled in.
func runWith(t *testing.T, o simulate.Options, tell func(s story)) {
	t.Helper()
	dir := memory(t)
	synctest.Test(t, func(t *testing.T) {
		o.Dir, o.Template, o.Definitions = dir, template, definitions
		seed := o.Seed
		w, err := simulate.New(t.Context(), o)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		defer func() {
			if err := w.Close(); err != nil {
				t.Errorf("seed %d: close: %v", seed, err)
			}
		}()
		tell(story{w, t, seed})
	})
}

// memory is an empty folder that needs no disk, where there is one.
func memory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "simulate")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// must fails the test on an error.
func (s story) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("seed %d: %v", s.seed, err)
	}
}

func (s story) publish(d division.Ref, rows int) {
	s.t.Helper()
	s.must(s.Divisions[d].Publish(s.t.Context(), rows, 40))
}

// settleWithin bounds how long the tree may need once everything is healed.
const settleWithin = 20 * time.Minute

// settle heals everything and waits until nothing is wrong.
func (s story) settle() time.Duration {
	s.t.Helper()
	s.Wire.Heal()
	began := time.Now()
	if wrong := s.wait(); len(wrong) > 0 {
		for _, one := range wrong {
			s.t.Errorf("seed %d: %s", s.seed, one)
		}
		s.t.FailNow()
	}
	return time.Since(began)
}

// wait waits until nothing is wrong, and returns what still is in the end.
func (s story) wait() []string {
	s.t.Helper()
	for began := time.Now(); ; {
		wrong, err := s.Wrong(s.t.Context())
		s.must(err)
		if len(wrong) == 0 || time.Since(began) > settleWithin {
			return wrong
		}
		<-time.After(settleWithin / 40)
	}
}

func TestRowsReachEveryDivisionOverPerfectLines(t *testing.T) {
	run(t, 1, tree, simulate.Chance{}, func(s story) {
		for range 5 {
			for _, p := range tree {
				s.publish(p.Ref, 20)
			}
			<-time.After(time.Second)
		}
		if took := s.settle(); took > time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

// held counts the children that a division holds.
func (s story) held(d division.Ref) (n int) {
	s.t.Helper()
	s.must(s.Divisions[d].DB.View(s.t.Context(), replication.Local, func(v *service.View) error {
		return v.QueryRow(`SELECT count(*) FROM federation_child WHERE state = 'held'`).Scan(&n)
	}))
	return n
}

// free lets a held child in again, as an operator does.
func (s story) free(at, child division.Ref) {
	s.t.Helper()
	s.must(s.Divisions[at].DB.Update(s.t.Context(), func(tx *service.Tx) error { return federation.FreeChild(tx, child) }))
}
