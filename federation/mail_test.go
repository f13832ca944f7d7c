package federation

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"tongban/division"
	"tongban/service"
)

// mailStory runs in virtual time.
func mailStory(t *testing.T, name string, tell func(t *testing.T, p *post)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		foundings(t)
		synctest.Test(t, func(t *testing.T) {
			p := newPost(t)
			defer p.close()
			tell(t, p)
		})
	})
}

func TestMail(t *testing.T) {
	mailStory(t, "crosses four lines and is received once", func(t *testing.T, p *post) {
		p.send(west, east, desk, 1, "a", "b")
		p.await("both are settled", time.Second, p.settled(west))
		if n := p.count(east, `SELECT count(*) FROM box_got`); n != 2 {
			t.Errorf("%d notes were received", n)
		}
		if n := p.count(west, `SELECT count(*) FROM box_heard WHERE state = 'delivered' AND reply LIKE 'got _' AND times = 1`); n != 2 {
			t.Errorf("the sender heard of %d", n)
		}
		if o := p.outbox(west)["a"]; o.State != service.MailDelivered || string(o.Reply) != "got a" || o.Settled.IsZero() {
			t.Errorf("the outbox has %+v", o)
		}
	})
	mailStory(t, "to a department of the same division needs no line", func(t *testing.T, p *post) {
		p.setCut(west, westTop, true)
		p.send(west, west, desk, 1, "a")
		p.await("it is settled", time.Second, p.settled(west))
		if p.wire != 0 || p.count(west, `SELECT count(*) FROM box_got`) != 1 {
			t.Errorf("%d messages crossed", p.wire)
		}
	})
}

func TestMailThatWaits(t *testing.T) {
	mailStory(t, "says where the line is cut, and is there at once when it is back", func(t *testing.T, p *post) {
		p.setCut(eastTop, east, true)
		p.send(west, east, desk, 1, "a")
		p.await("the reason is known", time.Second, func() bool { return p.outbox(west)["a"].Reason == stopUnreachable })
		if o := p.outbox(west)["a"]; o.Where != east.String() || o.State != service.MailWaiting || o.Tried.IsZero() {
			t.Errorf("the outbox has %+v", o)
		}
		pass(25 * time.Second)
		p.setCut(eastTop, east, false)
		p.await("it is settled", 2*time.Second, p.settled(west))
	})
	mailStory(t, "waits for weeks, and what is sent meanwhile says why at once", func(t *testing.T, p *post) {
		p.setCut(west, westTop, true)
		p.send(west, east, desk, 1, "a")
		pass(21 * 24 * time.Hour)
		p.send(west, east, desk, 1, "b")
		p.await("the reason is known", time.Second, func() bool { return p.outbox(west)["b"].Reason == stopUnreachable })
		p.setCut(west, westTop, false)
		p.await("both are settled", 2*time.Second, p.settled(west))
	})
}

func TestMailThatIsNotTaken(t *testing.T) {
	mailStory(t, "a refusal is final and undoes what the receiver wrote", func(t *testing.T, p *post) {
		p.send(west, east, desk, 1, "refuse a")
		p.await("it is settled", time.Second, p.settled(west))
		if o := p.outbox(west)["refuse a"]; o.State != service.MailRefused || o.Reason != "box.no" {
			t.Errorf("the outbox has %+v", o)
		}
		if p.count(east, `SELECT count(*) FROM box_got`) != 0 || p.count(west, `SELECT count(*) FROM box_heard WHERE state = 'refused'`) != 1 {
			t.Error("the refused note was received, or its sender did not hear")
		}
	})
	mailStory(t, "a department that is closed or was never there refuses", func(t *testing.T, p *post) {
		p.boxes[east].state = "closed"
		p.send(west, east, desk, 1, "a")
		p.send(west, east, "nobody", 1, "b")
		p.await("both are settled", time.Second, p.settled(west))
		if o := p.outbox(west); o["a"].Reason != refuseClosed || o["b"].Reason != refuseNoTenant {
			t.Errorf("the outbox has %+v", o)
		}
	})
	mailStory(t, "a poison mail blocks nobody", func(t *testing.T, p *post) {
		bad := []string{"panic", "fail", "later", "fail 2", "panic 2", "fail 3"}
		p.send(west, east, desk, 1, bad...)
		p.send(west, east, desk, 3, "from the future")
		p.send(west, east, desk, 2, "good")
		p.await("the good one is settled", 5*time.Second, func() bool { return p.outbox(west)["good"].State == service.MailDelivered })
		pass(time.Hour)
		out := p.outbox(west)
		for _, text := range bad {
			if o := out[text]; o.State != service.MailWaiting || o.Reason != stopFailed || o.Where != east.String() {
				t.Errorf("%s: %+v", text, o)
			}
		}
		if out["from the future"].Reason != stopNewer {
			t.Errorf("from the future: %+v", out["from the future"])
		}
		if n := p.count(east, `SELECT count(*) FROM box_got`); n != 1 {
			t.Errorf("%d notes were received", n)
		}
	})
}

func TestMailThatWaitsForTheReceiver(t *testing.T) {
	mailStory(t, "a suspended department's mail waits until it is active again", func(t *testing.T, p *post) {
		p.boxes[east].state = "suspended"
		p.send(west, east, desk, 1, "a")
		p.await("the reason is known", time.Second, func() bool { return p.outbox(west)["a"].Reason == stopSuspended })
		p.boxes[east].state = "active"
		p.await("it is settled", 10*time.Second, p.settled(west))
	})
	mailStory(t, "to a division that nobody knows waits until the directory has it", func(t *testing.T, p *post) {
		forget := func(at division.Ref) {
			b := p.boxes[at]
			p.must(b.db(b.div).Update(p.ctx, func(tx *service.Tx) error {
				return tx.Exec(`DELETE FROM federation_directory WHERE ref = ?`, east.String())
			}))
		}
		forget(west)
		p.send(west, east, desk, 1, "a")
		p.await("the reason is known", time.Second, func() bool { return p.outbox(west)["a"].Reason == stopUnknown })
		pass(time.Hour)
		p.spread()
		p.await("it is settled", 5*time.Second, p.settled(west))
	})
	mailStory(t, "a slow dead end leaves room for others", func(t *testing.T, p *post) {
		p.fault = func(_ int, m message) fault {
			if m.to == east || m.from == east {
				return dropped // The line is up and carries nothing.
			}
			return intact
		}
		for i := range 40 {
			p.send(west, east, desk, 1, fmt.Sprint("a", i))
		}
		pass(time.Minute)
		p.send(west, top, desk, 1, "b")
		p.await("that to the nation is settled", time.Second, func() bool { return p.outbox(west)["b"].State == service.MailDelivered })
		p.fault = nil
		p.await("all are settled", 10*time.Minute, p.settled(west))
		if n := p.count(east, `SELECT count(DISTINCT text) * 1000 + count(*) FROM box_got`); n != 40_040 {
			t.Errorf("of 40 notes %d arrived as %d", n/1000, n%1000)
		}
	})
}

func TestMailThatARelayAlters(t *testing.T) {
	mailStory(t, "is not received", func(t *testing.T, p *post) {
		p.fault = func(int, message) fault { return garbled }
		p.send(west, east, desk, 1, "a")
		p.await("the reason is known", time.Second, func() bool { return p.outbox(west)["a"].Reason == stopAltered })
		p.fault = nil
		p.await("it is settled", time.Minute, p.settled(west))
		if n := p.count(east, `SELECT count(*) FROM box_got`); n != 1 {
			t.Errorf("%d notes were received", n)
		}
	})
}

// TestEveryMessageFailsOnce has each message of a story fail in each way.
func TestEveryMessageFailsOnce(t *testing.T) {
	for what, name := range map[fault]string{dropped: "lost", doubled: "doubled", garbled: "garbled"} {
		for n, more := 1, true; more; n++ {
			mailStory(t, fmt.Sprintf("message %d is %s", n, name), func(t *testing.T, p *post) {
				p.fault = func(at int, _ message) fault {
					if at == n {
						return what
					}
					return intact
				}
				p.send(west, east, desk, 1, "a", "refuse b")
				p.send(east, west, desk, 1, "c")
				p.await("all of the west are settled", 5*time.Minute, p.settled(west))
				p.await("all of the east are settled", 5*time.Minute, p.settled(east))
				more = p.wire >= n
				if a, c := p.count(east, `SELECT count(*) FROM box_got`), p.count(west, `SELECT count(*) FROM box_got`); a != 1 || c != 1 {
					t.Errorf("the east has received %d, the west %d", a, c)
				}
				if p.outbox(west)["refuse b"].State != service.MailRefused {
					t.Error("the refused one is not refused")
				}
			})
		}
	}
}

func TestMailAcrossRestores(t *testing.T) {
	mailStory(t, "a receiver that was restored gets again what its backup lacks", func(t *testing.T, p *post) {
		p.send(west, east, desk, 1, "before", "refuse x")
		p.await("all are settled", time.Second, p.settled(west))
		restore := p.boxes[east].backup()
		p.send(west, east, desk, 1, "after", "refuse y")
		p.await("all are settled", time.Second, p.settled(west))
		restore()
		p.spread()
		p.await("the mails are offered again", 5*time.Second, func() bool {
			return p.count(west, `SELECT count(*) FROM box_heard WHERE times = 2`) == 4
		})
		if n := p.count(east, `SELECT count(DISTINCT text) * 10 + count(*) FROM box_got`); n != 22 {
			t.Errorf("received %d", n)
		}
		pass(time.Hour)
		if n := p.count(west, `SELECT max(times) FROM box_heard`); n != 2 {
			t.Errorf("a receipt came %d times", n)
		}
	})
	mailStory(t, "the directory hears of a restore later than the mail", func(t *testing.T, p *post) {
		restore := p.boxes[east].backup()
		p.send(west, east, desk, 1, "a")
		p.await("it is settled", time.Second, p.settled(west))
		restore()
		p.send(west, east, desk, 1, "b")
		p.await("the reason is known", 5*time.Second, func() bool { return p.outbox(west)["b"].Reason == stopRestored })
		p.spread()
		p.await("both are received", 5*time.Second, func() bool { return p.count(east, `SELECT count(*) FROM box_got`) == 2 })
		p.await("both are settled", 5*time.Second, p.settled(west))
		if n := p.count(east, `SELECT count(DISTINCT text) FROM box_got`); n != 2 {
			t.Errorf("received %d", n)
		}
	})
	mailStory(t, "a receipt from before a restore comes after it", func(t *testing.T, p *post) {
		restore := p.boxes[east].backup()
		p.delay = func(m message) time.Duration {
			if m.answer && m.from == east {
				return 20 * time.Second
			}
			return 0
		}
		p.send(west, east, desk, 1, "a")
		pass(time.Second)
		p.delay = nil
		restore()
		p.spread()
		pass(time.Minute)
		if n := p.count(east, `SELECT count(*) FROM box_got`); n != 1 {
			t.Errorf("the restored department has %d notes", n)
		}
	})
	mailStory(t, "a sender that was restored sends again under the old name", func(t *testing.T, p *post) {
		p.setCut(top, eastTop, true)
		p.send(west, east, desk, 1, "a")
		restore := p.boxes[west].backup()
		p.setCut(top, eastTop, false)
		p.await("it is settled", time.Minute, p.settled(west))
		p.send(west, east, desk, 1, "forgotten")
		p.await("it is settled", time.Minute, p.settled(west))
		restore()
		p.spread()
		p.send(west, east, desk, 1, "new, with the number of the forgotten")
		p.await("all are settled", time.Minute, p.settled(west))
		if n := p.count(east, `SELECT count(DISTINCT text) * 10 + count(*) FROM box_got`); n != 33 {
			t.Errorf("received %d", n)
		}
	})
}

// TestMailInAnyWeather plays stories that chance makes. A failing seed can be played again
// with -run TestMailInAnyWeather/seed_N.
func TestMailInAnyWeather(t *testing.T) {
	for seed := range uint64(25) {
		mailStory(t, fmt.Sprintf("seed %d", seed), func(t *testing.T, p *post) { playWeather(t, p, rand.New(rand.NewPCG(seed, 7))) })
	}
}

func playWeather(t *testing.T, p *post, r *rand.Rand) {
	bad := 100 // In a thousand.
	p.delay = func(message) time.Duration { return time.Duration(r.IntN(400)) * time.Millisecond }
	p.fault = func(int, message) fault {
		if r.IntN(1000) < bad {
			return dropped
		}
		if r.IntN(1000) < bad {
			return doubled
		}
		return intact
	}
	restores := map[division.Ref]func(){}
	sent := 0
	for range 40 {
		i := r.IntN(len(chain) - 1)
		end := []division.Ref{west, east}[r.IntN(2)]
		switch r.IntN(10) {
		case 0, 1, 2, 3:
			sent++
			p.send(west, east, desk, 1, fmt.Sprint("west ", sent))
			p.send(east, west, desk, 1, fmt.Sprint("east ", sent))
		case 4, 5:
			p.setCut(chain[i], chain[i+1], true)
		case 6:
			p.setCut(chain[i], chain[i+1], false)
		case 7:
			p.boxes[chain[i]].restart()
		case 8:
			restores[end] = p.boxes[end].backup()
		case 9:
			if restore := restores[end]; restore != nil {
				restore()
			}
		}
		pass(time.Duration(r.IntN(20_000)) * time.Millisecond)
		if r.IntN(3) == 0 {
			p.spread()
		}
	}
	p.fault = nil
	for i := range len(chain) - 1 {
		p.setCut(chain[i], chain[i+1], false)
	}
	p.spread()
	pass(2 * time.Minute) // For what was on its way, and a look at the directory.
	for from, to := range map[division.Ref]division.Ref{west: east, east: west} {
		p.await("all are settled", 10*time.Minute, p.settled(from))
		if doubled := p.count(to, `SELECT count(*) - count(DISTINCT text) FROM box_got`); doubled != 0 {
			t.Errorf("%d were received twice", doubled)
		}
		for text := range p.outbox(from) {
			if p.count(to, `SELECT count(*) FROM box_got WHERE text = ?`, text) != 1 {
				t.Errorf("%q is lost", text)
			}
		}
	}
}
