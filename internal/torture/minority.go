package torture

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// askMinority asks nodes that are cut off to write, again and again, until ctx ends: each
// must refuse with 503 and say when to come again, within minorityPatience. The returned
// function waits for the last answers.
func (n *nemesis) askMinority(ctx context.Context, boxes []*box) func() {
	var wg sync.WaitGroup
	begin := time.Now()
	for _, b := range boxes {
		wg.Go(func() {
			d := n.cluster.door(b, n.http[b.name])
			for ctx.Err() == nil {
				n.askOne(ctx, d, begin)
				wait(ctx, 100*time.Millisecond)
			}
		})
	}
	return wg.Wait
}

// askOne judges one answer. One that was not there yet when the cut ended is judged by the
// time until then.
func (n *nemesis) askOne(ctx context.Context, d *door, cut time.Time) {
	long, cancel := context.WithTimeout(ctx, 2*minorityPatience+n.o.slack())
	defer cancel()
	begin := time.Now()
	_, err := d.execute(long, sql(`INSERT INTO entry SELECT 'minority' WHERE 0`))
	took := time.Since(begin)
	n.asked.Add(1)
	var status *statusError
	switch {
	case took > minorityPatience+n.o.slack():
		n.wrong("hang: %s, cut off for %.1f s, did not answer a write for %.1f s (%v)", d.node, time.Since(cut).Seconds(), took.Seconds(), err)
	case ctx.Err() != nil:
	case err == nil && time.Since(cut) > minorityPatience+n.o.slack():
		n.wrong("minority: %s acknowledged a write %.1f s after it was cut off", d.node, time.Since(cut).Seconds())
	case err == nil:
	case errors.Is(err, syscall.ECONNREFUSED): // It is still starting after another fault.
	case !errors.As(err, &status) || status.status != http.StatusServiceUnavailable:
		n.wrong("minority: %s, cut off, answered %v instead of 503", d.node, err)
	case !status.retry:
		n.wrong("minority: %s answered 503 without Retry-After", d.node)
	}
}
