package demo

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"

	"golang.org/x/sync/errgroup"

	"tongban/node/client"
)

// visitCookie is the cookie with which a browser sees a case after number and secret.
const visitCookie = "case"

// visit shows number and secret of each receipt at the portal, and returns the cookies
// that open the cases, by number. A receipt that nobody knows has none.
func (d *District) visit(ctx context.Context, receipts []Receipt) (map[string]string, error) {
	out := map[string]string{}
	err := d.each(ctx, receipts, func(ctx context.Context, i int, r Receipt, note func(func())) error {
		answer, err := d.http.insist(ctx, d.survivors, i, "/t/"+r.Tenant+"/track",
			url.Values{"number": {r.Number}, "secret": {r.Secret}}, nil)
		if refused(err) {
			return nil
		}
		note(func() { out[r.Number] = answer.cookie(visitCookie) })
		return err
	})
	return out, err
}

// shown asks one node for each receipt's case; the answer comes from its own replica.
func (d *District) shown(ctx context.Context, n *Node, receipts []Receipt, visits map[string]string) (map[string]bool, error) {
	out := map[string]bool{}
	err := d.each(ctx, receipts, func(ctx context.Context, _ int, r Receipt, note func(func())) error {
		var page struct {
			Number string `json:"number"`
		}
		err := d.http.get(ctx, n.URL, "/t/"+r.Tenant+"/track/"+r.Number,
			[]*http.Cookie{{Name: visitCookie, Value: visits[r.Number]}}, &page)
		if refused(err) {
			return nil
		}
		if err == nil && page.Number == r.Number {
			note(func() { out[r.Number] = true })
		}
		return err
	})
	return out, err
}

// refused reports whether the portal answered that it shows no such case.
func refused(err error) bool {
	var p *client.Problem
	return errors.As(err, &p) && p.Status < http.StatusInternalServerError
}

// each runs fn for every receipt, as many at once as there are clients. note runs what
// must not run at the same time.
func (d *District) each(ctx context.Context, receipts []Receipt, fn func(ctx context.Context, i int, r Receipt, note func(func())) error) error {
	var mu sync.Mutex
	note := func(f func()) { mu.Lock(); defer mu.Unlock(); f() }
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(clients)
	for i, r := range receipts {
		g.Go(func() error { return fn(ctx, i, r, note) })
	}
	return g.Wait()
}
