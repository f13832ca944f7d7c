package federation

import (
	"fmt"
	"time"

	"tongban/division"
	"tongban/service"
)

// BeatEvery is what Options.Beat is by default.
const BeatEvery = 30 * time.Second

// silentAfter is how long after its last confirmation a child is silent: a beat until it
// asks, one until that is stored, and one for what a poor line takes.
const silentAfter = 3 * BeatEvery

// Freshness says how old what this division knows of another is.
type Freshness struct {
	AsOf   time.Time // What is known holds as of then. Zero: nothing was ever confirmed.
	Silent bool      // It, or a division between, has not been heard of as it should.
	Known  bool      // Something was confirmed: AsOf is meant.
	Left   bool      // It, or a division between, has left the tree for good: nothing newer will come.
}

// ReadFreshness returns the freshness of every division below self that the directory or
// the table of children knows. now is the time at which it is asked.
//
// The figures of a division hold as of the confirmation of the child that it is below of,
// or as of what a silent division between (or itself) was last confirmed, if that is older.
func ReadFreshness(q service.Querier, self division.Ref, now time.Time) (map[division.Ref]Freshness, error) {
	children, err := readConfirmed(q)
	if err != nil {
		return nil, err
	}
	silent, err := readSilent(q)
	if err != nil {
		return nil, err
	}
	parents, vias, err := readTree(q)
	if err != nil {
		return nil, err
	}
	left, err := ReadRevocations(q)
	if err != nil {
		return nil, err
	}
	out := map[division.Ref]Freshness{}
	for child, at := range children {
		out[child] = freshness(child, child, at, now, parents, silent, left)
	}
	for ref, via := range vias {
		if at, ok := children[via]; ok && ref != self {
			out[ref] = freshness(ref, via, at, now, parents, silent, left)
		}
	}
	return out, nil
}

// freshness is the freshness of ref, which is child or below it.
func freshness(ref, child division.Ref, confirmed, now time.Time,
	parents map[division.Ref]division.Ref, silent map[division.Ref]time.Time, left map[division.Ref]Revocation) Freshness {
	f := Freshness{AsOf: confirmed, Known: !confirmed.IsZero(), Silent: now.Sub(confirmed) > silentAfter}
	for hop := 0; hop < maxDepth; hop++ {
		if _, ok := left[ref]; ok {
			f.Left = true
		}
		if at, ok := silent[ref]; ok {
			f.Silent = true
			f.Known = f.Known && !at.IsZero()
			if at.Before(f.AsOf) {
				f.AsOf = at
			}
		}
		if ref == child || parents[ref].IsZero() {
			break
		}
		ref = parents[ref]
	}
	if !f.Known {
		f.AsOf = time.Time{}
	}
	return f
}

// maxDepth bounds the levels of a tree: no way along parents is longer.
const maxDepth = 16

// readConfirmed returns when each child, also one that has left, was last confirmed; zero: never.
func readConfirmed(q service.Querier) (map[division.Ref]time.Time, error) {
	rows, err := q.Query(`SELECT c.ref, r.confirmed FROM (SELECT ref FROM federation_child
			UNION SELECT ref FROM federation_revocation v WHERE via = '' AND ` + countsLeft + `) c
		LEFT JOIN federation_received r ON r.neighbour = c.ref ORDER BY c.ref`)
	if err != nil {
		return nil, fmt.Errorf("read the confirmations: %w", err)
	}
	return scanTimes(rows)
}

// readSilent returns as of when the figures of each silent division are; zero: never.
func readSilent(q service.Querier) (map[division.Ref]time.Time, error) {
	rows, err := q.Query(`SELECT ref, nullif(as_of, 0) FROM federation_silent ORDER BY ref`)
	if err != nil {
		return nil, fmt.Errorf("read the silent divisions: %w", err)
	}
	return scanTimes(rows)
}

// readTree returns the parent of each division of the directory, and the neighbour that
// told of it; neither where it is zero.
func readTree(q service.Querier) (parents, vias map[division.Ref]division.Ref, err error) {
	rows, err := q.Query(`SELECT ref, parent, via FROM federation_directory ORDER BY ref`)
	if err != nil {
		return nil, nil, fmt.Errorf("read the directory: %w", err)
	}
	defer rows.Close()
	parents, vias = map[division.Ref]division.Ref{}, map[division.Ref]division.Ref{}
	for rows.Next() {
		var ref, parent, via division.Ref
		if err := scanRefs(rows, &ref, &parent, &via); err != nil {
			return nil, nil, err
		}
		if !parent.IsZero() {
			parents[ref] = parent
		}
		if !via.IsZero() {
			vias[ref] = via
		}
	}
	return parents, vias, rows.Err()
}
