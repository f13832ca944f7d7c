package demo

import (
	"context"
	"net/url"
	"sync"
	"time"

	"tongban/internal/demo/page"
	"tongban/service/cases"
)

const (
	// checkEvery lies between two looks for a receipt: forty a second are no load.
	checkEvery = 25 * time.Millisecond
	// checkAfter is how old a receipt is before its case is looked for: replicas that are
	// a moment behind do not count as a loss.
	checkAfter = 2 * time.Second
)

// checker looks for the case of every receipt at the district's office, again and again. It
// may be used concurrently.
type checker struct {
	d     *District
	clerk *person

	mu       sync.Mutex
	receipts []checked
}

// checked is a receipt and how many cases its applicant was found to have.
type checked struct {
	Receipt
	at    time.Time
	looks int // That were answered.
	found int
}

func newChecker(d *District, clerk *person) *checker { return &checker{d: d, clerk: clerk} }

func (c *checker) add(r Receipt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.receipts = append(c.receipts, checked{Receipt: r, at: time.Now()})
}

// counts is what is known now. A receipt that was not looked for yet is neither found nor lost.
func (c *checker) counts() page.Cases {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := page.Cases{Acknowledged: len(c.receipts)}
	for _, r := range c.receipts {
		switch {
		case r.looks == 0:
		case r.found == 0:
			out.Lost++
		default:
			out.Found++
			out.Doubled += r.found - 1
		}
	}
	return out
}

// run looks until ctx ends.
func (c *checker) run(ctx context.Context) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if r, ok := c.next(i); ok {
			if found, err := c.look(ctx, r); err == nil {
				c.note(r, found)
			}
		}
	}
}

// next is the receipt that is to be looked for: of those that are old enough, first those
// that never were.
func (c *checker) next(i int) (Receipt, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var old []Receipt
	for _, r := range c.receipts {
		if time.Since(r.at) < checkAfter {
			continue
		}
		if r.looks == 0 {
			return r.Receipt, true
		}
		old = append(old, r.Receipt)
	}
	if len(old) == 0 {
		return Receipt{}, false
	}
	return old[i%len(old)], true
}

func (c *checker) note(r Receipt, found int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.receipts {
		if c.receipts[i].Marker == r.Marker {
			c.receipts[i].looks++
			c.receipts[i].found = found
		}
	}
}

// look asks the office of the receipt's department how many cases its applicant has.
func (c *checker) look(ctx context.Context, r Receipt) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	return c.d.casesOf(ctx, c.clerk, r)
}

// casesOf asks, as an officer, how many cases the receipt's applicant has.
func (d *District) casesOf(ctx context.Context, officer *person, r Receipt) (int, error) {
	var list cases.Listing
	err := d.getAs(ctx, officer, "/t/"+r.Tenant+"/cases?view=all&q="+url.QueryEscape(r.Marker), &list)
	return list.Total, err
}
