package demo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// cutCode is the division whose line to its parent is cut, if it is in the tree; else the
// district's own is.
const cutCode = "511600"

// line is the one that is cut.
func (s *script) line() *Line {
	if l := s.t.LineOf(cutCode); l != nil {
		return l
	}
	return s.t.LineOf(shownCode)
}

// levels are the district and all above it, the district first.
func (s *script) levels() []*District { return s.t.above(s.d) }

// below are those of them that still hear the district when the line is cut.
func (s *script) below() []*District {
	list := s.levels()
	return list[:slices.Index(list, s.line().Parent)]
}

// countUp has the district's clerk decide all cases, and waits until every level counts them.
func (s *script) countUp(ctx context.Context) error {
	start := time.Now()
	s.clerk = newPerson("广安区综合窗口工作人员（办件）", "", "clerk")
	var tenants []string
	for slug, offers := range s.offers {
		if len(offers) > 0 {
			tenants = append(tenants, slug)
		}
	}
	if err := s.d.engage(ctx, s.clerk, tenants...); err != nil {
		return err
	}
	var err error
	if s.window, err = s.t.openWindow(ctx, s.d, Spread(s.offers)[0]); err != nil {
		return err
	}
	receipts := s.ledger.all()
	if err := s.d.decideAll(ctx, s.clerk, receipts, func() {}); err != nil {
		return err
	}
	s.sum.before = int64(len(receipts))
	s.o.Progress.Step("an officer has decided all %d cases (%s)", len(receipts), since(start))
	start = time.Now()
	if err := awaitCount(ctx, s.levels(), count{s.sum.before, s.sum.before}); err != nil {
		return err
	}
	s.o.Progress.Step("%d levels count %d decided cases (%s later)", len(s.levels()), s.sum.before, since(start))
	return nil
}

// cutAndServe cuts the line, and while it is cut: makes and decides as many cases again,
// kills a node of the district, and lodges a case for it at the window.
func (s *script) cutAndServe(ctx context.Context) error {
	line := s.line()
	line.Cut()
	cut := time.Now()
	s.o.Progress.Step("cut the line %s", line)
	more := newLedger(max(1, s.o.Cases/3))
	g, serving := errgroup.WithContext(ctx)
	g.Go(func() error {
		return s.d.load(serving, Spread(s.offers), batch{prefix: "丁", first: s.o.Cases, n: s.o.Cases,
			then: func(ctx context.Context, r Receipt) error { return s.d.decide(ctx, s.clerk, r) }}, more)
	})
	g.Go(func() error {
		select {
		case <-more.reached:
		case <-serving.Done():
			return serving.Err()
		}
		s.killed = s.d.Nodes[len(s.d.Nodes)-1]
		s.d.Kill(s.killed)
		s.o.Progress.Step("killed node %s with SIGKILL, while the line is cut", s.d.label(s.killed))
		return nil
	})
	g.Go(func() (err error) {
		if s.lodged, err = s.window.lodge(serving, s.d, Spread(s.offers)[0], "戊00001", 1); err != nil {
			return err
		}
		return s.window.awaitReason(serving, s.lodged)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	s.sum.ServedWhileCut = len(more.all())
	s.ledger.take(more)
	s.sum.CasesAcknowledged = len(s.ledger.all())
	s.o.Progress.Step("%d cases acknowledged and decided while the line is cut; the one lodged in %s waits: %s",
		s.sum.ServedWhileCut, s.window.d.Division.Code, s.lodged.reason())
	return s.lookAcross(ctx, cut)
}

// silentPatience bounds how long the nation may take to know that a line below is cut.
const silentPatience = 30 * time.Second

// lookAcross sees that what is below the cut counts everything, and that the nation shows
// the old figure as old.
func (s *script) lookAcross(ctx context.Context, cut time.Time) error {
	s.sum.after = s.sum.before + int64(s.sum.ServedWhileCut)
	if err := awaitCount(ctx, s.below(), count{s.sum.after, s.sum.after}); err != nil {
		return err
	}
	nation := s.levels()[len(s.levels())-1]
	ctx, cancel := context.WithTimeout(ctx, silentPatience)
	defer cancel()
	return nation.awaitEvery(ctx, figuresEvery, "the nation says that somebody below is silent", func() error {
		page, err := nation.figures(ctx)
		if err != nil {
			return err
		}
		s.sum.NationWhileCut, s.sum.NationAge = page.Decided, page.Age
		s.sum.sinceCut = int64(time.Since(cut) / time.Second)
		if !page.Silent {
			return fmt.Errorf("it shows %d decided cases as of %d s ago, and nobody silent", page.Decided, page.Age)
		}
		s.o.Progress.Step("the nation shows %d decided cases, as of %d s ago, and that a division below is silent; %s counts %d",
			page.Decided, page.Age, s.line().Child.Division.Code, s.sum.after)
		return nil
	})
}

// heal heals the line, brings the killed node back, and waits until all levels are equal
// and the lodged case is where it was to go.
func (s *script) heal(ctx context.Context) error {
	start := time.Now()
	s.line().Heal()
	want := count{s.sum.after + 1, s.sum.after} // The lodged one is applied for.
	g, healing := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := awaitCount(healing, s.levels(), want); err != nil {
			return err
		}
		s.sum.HealMS = time.Since(start).Milliseconds()
		return nil
	})
	g.Go(func() error { return s.window.awaitDelivery(healing, s.lodged) })
	g.Go(func() error {
		if err := s.d.Run(healing, s.killed); err != nil {
			return err
		}
		return s.d.CatchUp(healing, s.killed)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	s.o.Progress.Step("healed: all %d levels count %d decided cases, %d ms after the heal", len(s.levels()), s.sum.after, s.sum.HealMS)
	found, err := s.d.casesOf(ctx, s.clerk, Receipt{Tenant: s.lodged.to, Marker: s.lodged.Marker})
	if err != nil {
		return err
	}
	s.sum.MailDelivered = found
	s.o.Progress.Step("the case lodged in %s has the number %s and is found %d time(s)", s.window.d.Division.Code, s.lodged.Number, found)
	return nil
}

// readAll reads at the end what every level counts.
func (s *script) readAll(ctx context.Context) error {
	if err := awaitCount(ctx, s.levels(), count{s.sum.after + 1, s.sum.after}); err != nil {
		return err
	}
	s.sum.CasesAt = map[string]int64{}
	for _, d := range s.levels() {
		page, err := d.figures(ctx)
		if err != nil {
			return err
		}
		s.sum.CasesAt[string(d.Division.Code)] = page.Decided
	}
	return nil
}
