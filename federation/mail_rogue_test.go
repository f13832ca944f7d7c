package federation

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tongban/division"
	"tongban/service"
)

// TestWhatANeighbourMayNotSend has a neighbour send what no honest one would.
func TestWhatANeighbourMayNotSend(t *testing.T) {
	address := func(d division.Ref) service.Address { return service.Address{Division: d, Tenant: desk} }
	// of is a mail as the division would seal it, with the header of another if that is given.
	of := func(signer division.Ref, header service.Address, to division.Ref) envelope {
		m := mailLetter{ID: service.MailID{Origin: mailOrigin(header), Epoch: "e", Seq: 1}, From: header, To: address(to),
			Kind: "box.note", Format: 1, Sent: time.Now(), Payload: []byte("x")}
		plain, err := json.Marshal(letter{Mail: &m})
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := letters{signer}.Seal(Entry{Ref: to}, plain)
		if err != nil {
			t.Fatal(err)
		}
		return envelope{ID: m.ID, From: m.From, To: m.To, Kind: m.Kind, Sent: m.Sent, Sealed: sealed, Left: 10_000}
	}
	honest := of(west, address(west), east)
	plain, err := json.Marshal(letter{Mail: &mailLetter{ID: honest.ID, From: honest.From, To: honest.To, Kind: honest.Kind, Sent: honest.Sent, Format: 1}})
	if err != nil {
		t.Fatal(err)
	}
	with := func(e envelope, change func(e *envelope)) envelope { change(&e); return e }
	for _, c := range []struct {
		name     string
		at, from division.Ref
		e        envelope
		want     string // "": it is received.
	}{
		{"nothing: an honest mail", east, eastTop, honest, ""},
		{"in the name of a division of another side", eastTop, east, of(east, address(west), westTop), stopNoReturn},
		{"in the name of the division that it is sent to", eastTop, east, of(east, address(eastTop), top), stopLoop},
		{"signed by another than it says", east, eastTop, of(eastTop, address(west), east), stopAltered},
		{"with the header of another mail", east, eastTop, with(honest, func(e *envelope) { e.ID.Seq = 2 }), stopAltered},
		{"of another kind than was sealed", east, eastTop, with(honest, func(e *envelope) { e.Kind = "box.other" }), stopAltered},
		{"sealed for another division", east, eastTop, with(of(west, address(west), top), func(e *envelope) { e.To = address(east) }), stopAltered},
		{"unsealed", east, eastTop, with(honest, func(e *envelope) { e.Sealed, e.Plain = nil, plain }), stopAltered},
		{"round and round", eastTop, top, with(honest, func(e *envelope) { e.Hops = maxHops }), stopLoop},
		{"what belongs on its own side", eastTop, top, of(west, address(west), westTop), stopUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			foundings(t)
			synctest.Test(t, func(t *testing.T) {
				p := newPost(t)
				defer p.close()
				body, err := json.Marshal(c.e)
				p.must(err)
				out, err := p.boxes[c.at].f.Receive(p.ctx, c.from, KindMail, body)
				p.must(err)
				var a mailAnswer
				p.must(json.Unmarshal(out, &a))
				if a.Stopped != c.want || c.want == "" && a.Sealed == nil {
					t.Errorf("it was answered with %+v", a)
				}
				received := 0
				for _, ref := range chain {
					received += p.count(ref, `SELECT count(*) FROM box_got`)
				}
				if (received == 1) != (c.want == "") {
					t.Errorf("%d were received", received)
				}
			})
		})
	}
}

// What a relay or a receiver answers is kept and shown, and so is not what it likes.
func TestWhatMayNotBeAnswered(t *testing.T) {
	mailStory(t, "is not kept", func(t *testing.T, p *post) {
		f := p.boxes[west].f
		body, err := json.Marshal(mailAnswer{Stopped: strings.Repeat("call 123456, ", 1000), At: eastTop})
		p.must(err)
		if a, _ := f.answered(eastTop, body, nil); a.Stopped != stopFailed {
			t.Errorf("a relay's own reason was taken: %.40q", a.Stopped)
		}
		id := service.MailID{Origin: "o", Epoch: "e", Seq: 1}
		for name, r := range map[string]mailReceipt{
			"a long reply":  {ID: id, State: service.MailDelivered, Reply: make([]byte, maxReply+1)},
			"a long reason": {ID: id, State: service.MailRefused, Reason: strings.Repeat("x", maxRefusal+1)},
		} {
			plain, err := json.Marshal(letter{Receipt: &r})
			p.must(err)
			sealed, err := letters{east}.Seal(Entry{Ref: west}, plain)
			p.must(err)
			if _, err := (&sender{f: f}).receipt(id, east, mailAnswer{Sealed: sealed}); err == nil {
				t.Errorf("a receipt with %s was taken", name)
			}
		}
	})
}

func TestMailToAFullDisk(t *testing.T) {
	mailStory(t, "waits, unless it is the division's own", func(t *testing.T, p *post) {
		p.boxes[east].full.Store(true)
		p.send(west, east, desk, 1, "a", "refuse")
		p.send(east, east, desk, 1, "b")
		p.await("its own is settled", time.Minute, p.settled(east))
		p.await("the reason is known", time.Minute, func() bool { return p.outbox(west)["refuse"].Reason == stopBusy })
		if n := p.count(east, `SELECT count(*) FROM service_inbox`); n != 1 {
			t.Errorf("the inbox has %d mails, want its own", n)
		}
		p.boxes[east].full.Store(false)
		p.await("all are settled", 10*time.Minute, p.settled(west))
	})
}

func TestMailOfAHeldChild(t *testing.T) {
	mailStory(t, "goes nowhere, and none goes to it", func(t *testing.T, p *post) {
		parent := p.boxes[eastTop]
		hold := func(then func(tx *service.Tx, ref division.Ref) error) {
			p.must(parent.db(parent.div).Update(p.ctx, func(tx *service.Tx) error { return then(tx, east) }))
		}
		p.must(parent.db(parent.div).Update(p.ctx, func(tx *service.Tx) error {
			return EnterChild(tx, Child{Ref: east, CA: []byte{1}})
		}))
		hold(func(tx *service.Tx, ref division.Ref) error { return HoldChild(tx, ref, "copy") })
		p.send(west, east, desk, 1, "a")
		p.send(east, west, desk, 1, "b")
		for from, text := range map[division.Ref]string{west: "a", east: "b"} {
			p.await("the reason is known", 5*time.Second, func() bool { return p.outbox(from)[text].Reason == stopHeld })
		}
		hold(FreeChild)
		p.await("that of the west is settled", time.Minute, p.settled(west))
		p.await("that of the east is settled", time.Minute, p.settled(east))
	})
}
