package simulate_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tongban/internal/simulate"
	"tongban/service"
)

var notes = []service.Definition{simulate.Figures(), simulate.Notes()}

// runMail is run with a department in every division, whose directory is told by feeds.
func runMail(t *testing.T, seed uint64, places []simulate.Place, chance simulate.Chance, tell func(s story)) {
	t.Helper()
	dir := memory(t)
	desk, err := simulate.PrepareDesk(t.Context(), t.TempDir(), notes)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w, err := simulate.New(t.Context(), simulate.Options{Dir: dir, Seed: seed, Tree: places, Template: template, Desk: desk,
			Definitions: notes, Chance: chance})
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

// settleMails heals everything and waits until every mail is where it belongs, and stays.
func (s story) settleMails() {
	s.t.Helper()
	s.Wire.Heal()
	var wrong []string
	for began := time.Now(); time.Since(began) < settleWithin; {
		<-time.After(10 * time.Second)
		var err error
		wrong, err = s.WrongMails(s.t.Context())
		s.must(err)
		if len(wrong) == 0 {
			break
		}
	}
	<-time.After(time.Minute) // What is still on its way must change nothing.
	again, err := s.WrongMails(s.t.Context())
	s.must(err)
	for _, one := range append(wrong, again...) {
		s.t.Errorf("seed %d: %s", s.seed, one)
	}
}

func (s story) send(from, to int, text string) {
	s.t.Helper()
	s.must(s.Divisions[s.Tree[from].Ref].Send(s.t.Context(), s.Tree[to].Ref, text))
}

func TestMailIsReceivedOnceWhateverHappens(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			runMail(t, seed, branch, bad, func(s story) { s.playMails() })
		})
	}
}

// playMails sends mails from everywhere to everywhere while lines are cut, divisions start
// again and are restored from backups.
func (s story) playMails() {
	backups := map[int][]string{}
	for n := range 60 {
		at, to := s.Rand(len(s.Tree)), s.Rand(len(s.Tree))
		d := s.Divisions[s.Tree[at].Ref]
		switch s.Rand(12) {
		case 0, 1:
			s.Wire.Cut(d.Ref, true)
		case 2, 3:
			s.Wire.Cut(d.Ref, false)
		case 4:
			d.Restart()
		case 5:
			file, err := d.Backup(s.t.Context())
			s.must(err)
			backups[at] = append(backups[at], file)
		case 6:
			if old := backups[at]; len(old) > 0 {
				s.must(d.Restore(s.t.Context(), old[s.Rand(len(old))]))
			}
		case 7:
			s.send(at, to, fmt.Sprint("refuse ", n))
		default:
			s.send(at, to, fmt.Sprint("note ", n))
		}
		<-time.After(time.Duration(s.Rand(40_000)) * time.Millisecond)
	}
	s.settleMails()
}

// Every message of a story is lost, or its answer is, or it comes twice: rows and mails.
func TestMailWithEveryMessageFailingOnce(t *testing.T) {
	for what, fate := range map[string]simulate.Fate{"lost": {LoseRequest: true}, "unanswered": {LoseAnswer: true}, "doubled": {Again: time.Minute}} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			for n := 1; n <= 24; n++ {
				runMail(t, uint64(n), branch, simulate.Chance{}, func(s story) {
					<-time.After(time.Minute) // The directory is whole.
					s.Wire.At(n, fate)
					s.send(3, 0, "up")
					s.send(0, 3, "down")
					s.send(3, 0, "refuse")
					<-time.After(time.Minute)
					s.settleMails()
				})
			}
		})
	}
}
