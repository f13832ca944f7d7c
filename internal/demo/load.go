package demo

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// ledger is what the applicants of a run were told. It may be used concurrently.
type ledger struct {
	mu       sync.Mutex
	receipts []Receipt
	retried  int           // Applications that needed a second attempt or a longer wait than slow.
	reached  chan struct{} // Closed when there are threshold receipts.
	at       int
}

// newLedger returns an empty ledger whose reached closes at so many receipts.
func newLedger(threshold int) *ledger {
	return &ledger{reached: make(chan struct{}), at: threshold}
}

func (l *ledger) add(r Receipt, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.receipts = append(l.receipts, r)
	if took > slow {
		l.retried++
	}
	if len(l.receipts) == l.at {
		close(l.reached)
	}
}

// take adds what another one holds.
func (l *ledger) take(other *ledger) {
	list := other.all()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.receipts = append(l.receipts, list...)
	l.retried += other.retried
}

func (l *ledger) all() []Receipt {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.receipts)
}

// slow is what nobody waits for while all is well.
const slow = 500 * time.Millisecond

// clients is how many applicants are at it at once: four at each node.
const clients = 12

// thinkTime lies between two applications of one client. Without it a fast machine has
// answered all of them before the busiest node is found and killed.
const thinkTime = 50 * time.Millisecond

// urls are people's ports of all nodes: a citizen does not know which one is down.
func (d *District) urls() []string {
	var list []string
	for _, n := range d.Nodes {
		list = append(list, n.URL)
	}
	return list
}

// survivors are people's ports of the nodes that run.
func (d *District) survivors() []string {
	var list []string
	for _, n := range d.Running() {
		list = append(list, n.URL)
	}
	return list
}

// apply sends the application, beginning at node first, until it is acknowledged.
func (d *District) apply(ctx context.Context, a application, bases func() []string, first int) (Receipt, error) {
	r, err := d.http.insist(ctx, bases, first, a.offer.path(), a.form, nil)
	if err != nil {
		return Receipt{}, fmt.Errorf("apply for %s: %w", a.offer.Item, err)
	}
	return receiptOf(a, r)
}

// batch is applications that are to be sent.
type batch struct {
	prefix string        // One character of all applicants' names.
	first  int           // Number of the first applicant of that prefix.
	n      int           // How many.
	pause  time.Duration // Between two applications of one client.

	then func(context.Context, Receipt) error // After each; nil: nothing.
}

// load sends the applications of a batch, spread over offers and nodes, with several
// clients at once. Each client that is not answered tries the next node with the same key.
func (d *District) load(ctx context.Context, offers []Offer, b batch, l *ledger) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range clients {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.n {
					return nil
				}
				i += b.first
				a := newApplication(offers[i%len(offers)], fmt.Sprintf("%s%05d", b.prefix, i), i)
				start := time.Now()
				r, err := d.apply(ctx, a, d.urls, i)
				if err != nil {
					return err
				}
				l.add(r, time.Since(start))
				if b.then != nil {
					if err := b.then(ctx, r); err != nil {
						return err
					}
				}
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(b.pause):
				}
			}
		})
	}
	return g.Wait()
}

// Get reads what the division answers anybody as JSON, into out.
func (d *District) Get(ctx context.Context, path string, out any) error {
	running := d.Running()
	if len(running) == 0 {
		return errNoNode
	}
	return d.http.get(ctx, running[0].URL, path, nil, out)
}

// Submit sends one new application to the node, once, and returns when it is acknowledged.
// seq makes the applicant unique.
func (d *District) Submit(ctx context.Context, n *Node, o Offer, seq int) (Receipt, error) {
	a := newApplication(o, fmt.Sprintf("丙%07d", seq), seq)
	r, err := d.http.send(ctx, http.MethodPost, n.URL+o.path(), a.form, nil)
	if err != nil {
		return Receipt{}, err
	}
	return receiptOf(a, r)
}
