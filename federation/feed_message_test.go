package federation

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"tongban/service"
)

func goodOffer() offer {
	return offer{Stream: service.Up, Epoch: "e", Token: "t", Proof: "p", Run: "r", Turn: 3, After: 10, Through: 40, Head: 50,
		Rows: []service.FeedRow{
			{Feed: "a.b", Key: "k", Version: 11, Format: 1, Payload: []byte("{}")},
			{Feed: "a.b", Key: "gone", Version: 40, Format: 2, Payload: []byte{}},
		}}
}

func TestAnOfferArrivesAsItWasSent(t *testing.T) {
	c := newCoder()
	for name, o := range map[string]offer{"rows": goodOffer(), "question": {Stream: service.Down, Epoch: "e", After: 5, Through: 5, Head: 9}} {
		got, err := c.decodeOffer(c.encodeOffer(o))
		if err != nil || !reflect.DeepEqual(got, o) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	p := position{Epoch: "e", Version: 7, Token: "t", Prove: "p"}
	if got, err := decodePosition(encodePosition(p)); err != nil || got != p {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestWhatANewerProgramAppendsToTheHeaderIsLeftUnread(t *testing.T) {
	h := appendText(nil, "e")
	h = append(h, 7)
	h = appendText(appendText(appendText(h, "t"), ""), "new")
	if got, err := decodePosition(appendText([]byte{feedFormat}, string(h))); err != nil || got.Version != 7 || got.Token != "t" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestBadOffersAreRefusedWhole(t *testing.T) {
	c := newCoder()
	for name, spoil := range map[string]func(o *offer){
		"two rows of one version":   func(o *offer) { o.Rows[1].Version = 11 },
		"rows in the wrong order":   func(o *offer) { o.Rows[0].Version = 41; o.Through = 45 },
		"a row above through":       func(o *offer) { o.Through = 39 },
		"through above the head":    func(o *offer) { o.Head = 39 },
		"through below after":       func(o *offer) { o.Through, o.Rows = 9, nil },
		"no epoch":                  func(o *offer) { o.Epoch = "" },
		"a key that is too long":    func(o *offer) { o.Rows[0].Key = strings.Repeat("k", service.MaxFeedKey+1) },
		"a payload that is too big": func(o *offer) { o.Rows[0].Payload = make([]byte, service.MaxFeedPayload+1) },
		"too many rows": func(o *offer) {
			o.Rows = make([]service.FeedRow, maxRows+1)
			for i := range o.Rows {
				o.Rows[i].Version = int64(11 + i)
			}
			o.Through, o.Head = 5000, 5000
		},
		"too many bytes": func(o *offer) { // A megabyte of zeros is a few bytes on the wire.
			o.Rows = make([]service.FeedRow, 5)
			for i := range o.Rows {
				o.Rows[i] = service.FeedRow{Version: int64(11 + i), Payload: make([]byte, service.MaxFeedPayload)}
			}
		},
	} {
		o := goodOffer()
		spoil(&o)
		if _, err := c.decodeOffer(c.encodeOffer(o)); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := c.encodeOffer(goodOffer())
	for n := range good {
		if _, err := c.decodeOffer(good[:n]); err == nil {
			t.Errorf("the first %d bytes of %d are taken for an offer", n, len(good))
		}
	}
	if _, err := c.decodeOffer(append([]byte{feedFormat + 1}, good[1:]...)); !errors.Is(err, errMalformed) {
		t.Errorf("another format: %v", err)
	}
	if _, err := c.decodeOffer(bytes.Repeat([]byte{1}, MaxMessage+1)); !errors.Is(err, errMalformed) {
		t.Errorf("more than a message: %v", err)
	}
}

func FuzzDecodeOffer(f *testing.F) {
	c := newCoder()
	f.Add(c.encodeOffer(goodOffer()))
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = c.decodeOffer(b) }) // It must not panic, hang or fill the memory.
}
