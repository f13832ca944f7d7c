package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"tongban/internal/demo/page"
	"tongban/service/cases"
)

// window is a hall of another province: any office accepts any service.
type window struct {
	d       *District
	officer *person
	tenant  string
}

const (
	// knownPatience bounds how long the directory may take from one end of the tree to the
	// other after the enrolment.
	knownPatience = 2 * time.Minute
	// reasonPatience bounds how long the window may take to say why a case waits: a relay
	// may hope for its line for half a minute.
	reasonPatience = 90 * time.Second
)

// openWindow makes the account of the window's officer, and waits until the directory
// there has the division for which cases are lodged.
func (t *Tree) openWindow(ctx context.Context, to *District, o Offer) (*window, error) {
	d := t.At(windowCode)
	if d == nil {
		return nil, fmt.Errorf("the tree has no %s, where cases are lodged", windowCode)
	}
	w := &window{d: d, tenant: bureaus()[windowCode].slug,
		officer: newPerson("西湖区综合窗口工作人员（代收外省办件）", "officer of the window in Xihu, Zhejiang (lodges cases for other provinces)", "window")}
	if err := d.engage(ctx, w.officer, w.tenant); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, knownPatience)
	defer cancel()
	return w, d.awaitEvery(ctx, figuresEvery, "the directory of "+windowCode+" has "+string(to.Division.Code), func() error {
		var form struct {
			Known bool `json:"known"`
		}
		err := d.getAs(ctx, w.officer, "/t/"+w.tenant+"/lodge?ref="+url.QueryEscape(referenceOf(to, o)), &form)
		if err == nil && !form.Known {
			err = errors.New("it has not")
		}
		return err
	})
}

// referenceOf names an item of a division for windows of others.
func referenceOf(d *District, o Offer) string {
	return cases.Reference{Division: d.Division.Ref, Tenant: o.Tenant, Item: o.Item}.String()
}

// lodged is a case that the window has lodged. Its fields are what was last seen of it.
type lodged struct {
	Marker string
	Number string // Of the receipt, once it is delivered.

	to    string // Tenant.
	id    string // Of the mail, at the window.
	state string // As of page.Lodged.
	why   string // Reason, and
	where string // full name of the division at which it stopped.
	at    time.Time
	took  time.Duration // Until it was delivered; zero: not yet.
}

func (l *lodged) reason() string { return strings.TrimSpace(l.why + " " + l.where) }

// shown is the case for the page.
func (l *lodged) shown(now time.Time) page.Lodged {
	took := l.took
	if took == 0 {
		took = now.Sub(l.at)
	}
	return page.Lodged{ID: l.id, State: l.state, Reason: l.why, Where: l.where, Number: l.Number, For: page.Seconds(took)}
}

// awaitReason waits until the window says why the case waits.
func (w *window) awaitReason(ctx context.Context, l *lodged) error {
	ctx, cancel := context.WithTimeout(ctx, reasonPatience)
	defer cancel()
	return w.d.awaitEvery(ctx, figuresEvery, "the window says why the lodged case waits", func() error {
		if err := w.look(ctx, l); err != nil {
			return err
		}
		if l.state != page.Waiting || l.why == "" {
			return fmt.Errorf("it is %s, with the reason %q", l.state, l.why)
		}
		return nil
	})
}

// awaitDelivery waits until the window has the receipt.
func (w *window) awaitDelivery(ctx context.Context, l *lodged) error {
	ctx, cancel := context.WithTimeout(ctx, equalPatience)
	defer cancel()
	return w.d.awaitEvery(ctx, figuresEvery, "the lodged case is delivered", func() error {
		if err := w.look(ctx, l); err != nil {
			return err
		}
		if l.state != page.Delivered {
			return fmt.Errorf("it is %s: %s", l.state, l.reason())
		}
		return nil
	})
}

// lodge takes a case for an item of another division, as the window's officer does.
func (w *window) lodge(ctx context.Context, to *District, o Offer, marker string, n int) (*lodged, error) {
	form := newApplication(o, marker, n).form
	form.Set("ref", referenceOf(to, o))
	r, err := w.d.http.insist(ctx, w.d.urls, 0, "/t/"+w.tenant+"/lodge", form, w.officer.session)
	if err != nil {
		return nil, fmt.Errorf("lodge a case for %s in %s: %w", o.Item, w.d.Division.Code, err)
	}
	var slip cases.Slip
	if err := json.Unmarshal(r.body, &slip); err != nil || slip.Number == "" {
		return nil, fmt.Errorf("the answer to a lodging is %.200q", r.body)
	}
	w.d.say.Step("lodged a case in %s for %s: %s", w.d.Division.Code, to.Division.Code, slip.Number)
	return &lodged{Marker: marker, to: o.Tenant, id: slip.Number, state: page.Waiting, at: time.Now()}, nil
}

// look asks the window how the case stands.
func (w *window) look(ctx context.Context, l *lodged) error {
	var now cases.Lodged
	if err := w.d.getAs(ctx, w.officer, "/t/"+w.tenant+"/lodged/"+l.id, &now); err != nil {
		return err
	}
	l.state, l.why, l.where, l.Number = string(now.State), now.Reason, now.Where, now.Case
	if l.state != page.Waiting && l.took == 0 {
		l.took = time.Since(l.at)
	}
	return nil
}

// getAs reads a path at a node that runs, with somebody's session.
func (d *District) getAs(ctx context.Context, p *person, path string, out any) error {
	running := d.survivors()
	if len(running) == 0 {
		return errNoNode
	}
	return d.http.get(ctx, running[0], path, p.session, out)
}
