package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"tongban/internal/demo/relay"
)

// Place is a division of a tree that is to be started.
type Place struct {
	Code   string
	Parent string // Code; empty: it is the anchor. It stands before its children.
	Nodes  int
}

// Four levels of two provinces: a nation, and a district of three boxes whose cases it counts.
const (
	nationCode = "000000"
	windowCode = "330106" // Where a case for the district is lodged.
)

// wholeTree are the nine boxes that the demonstration runs.
func wholeTree() []Place {
	return []Place{
		{nationCode, "", 1},
		{"510000", nationCode, 1}, {"511600", "510000", 1}, {shownCode, "511600", 3},
		{"330000", nationCode, 1}, {"330100", "330000", 1}, {windowCode, "330100", 1},
	}
}

// englishNames are the divisions' names for readers of English, by code.
func englishNames() map[string]string {
	return map[string]string{nationCode: "China", "510000": "Sichuan", "511600": "Guang'an", shownCode: "Guang'an District",
		"330000": "Zhejiang", "330100": "Hangzhou", windowCode: "Xihu"}
}

// Tree is divisions on loopback, each of its own processes, with a line that can be cut
// between each and its parent. Close it. Its methods may be called concurrently.
type Tree struct {
	Dir       string
	Divisions []*District // Parents before their children.
	Lines     []*Line     // In the order of the children.

	say *Progress
}

// Line is the line between a division and its parent.
type Line struct {
	Child, Parent *District
	*relay.Line

	nodes int // Of the parent; the first ports lead to their links, the others to their node ports.
}

// String names the line by both ends, the upper first.
func (l *Line) String() string {
	return fmt.Sprintf("%s–%s", l.Parent.Division.Code, l.Child.Division.Code)
}

// startsAtOnce is how many divisions are made at the same time: as many as keep two cores
// busy while each waits for its own disk and network.
const startsAtOnce = 4

// StartTree starts all divisions of places, joins them by lines and enrols each with its
// parent. On an error nothing is left running.
func StartTree(ctx context.Context, s Setting, places []Place) (*Tree, error) {
	binary, err := programOf(s.Binary)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tongban-demo-")
	if err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	t := &Tree{Dir: dir, Divisions: make([]*District, len(places)), say: s.Progress}
	fail := func(err error) (*Tree, error) { return nil, errors.Join(err, t.Close(s.Keep)) }
	g, starting := errgroup.WithContext(ctx)
	g.SetLimit(startsAtOnce)
	for _, i := range largestFirst(places) {
		g.Go(func() (err error) {
			t.Divisions[i], err = Start(starting, Setting{Binary: binary, Code: places[i].Code, Nodes: places[i].Nodes,
				Dir: filepath.Join(dir, places[i].Code), Keep: true, Progress: s.Progress})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fail(err)
	}
	for i, p := range places {
		if p.Parent == "" {
			continue
		}
		if err := t.join(t.Divisions[i], t.At(p.Parent), s.slowAt(p.Code)); err != nil {
			return fail(err)
		}
	}
	if s.Before != nil {
		if err := s.Before(ctx, t); err != nil {
			return fail(err)
		}
	}
	if err := t.enrol(ctx); err != nil {
		return fail(err)
	}
	return t, nil
}

// largestFirst are the indexes of places, those with most nodes first: they take longest.
func largestFirst(places []Place) []int {
	var many, one []int
	for i, p := range places {
		if p.Nodes > 1 {
			many = append(many, i)
		} else {
			one = append(one, i)
		}
	}
	return append(many, one...)
}

// join opens the line between a child and its parent.
func (t *Tree) join(child, parent *District, slow *relay.Slow) error {
	if parent == nil {
		return fmt.Errorf("the parent of %s is not in the tree", child.Division.Code)
	}
	var targets []string
	for _, n := range parent.Nodes {
		targets = append(targets, n.Config.Link.Listen)
	}
	for _, n := range parent.Nodes {
		targets = append(targets, n.Config.Peer.Listen)
	}
	line, err := relay.Open(slow, targets...)
	if err != nil {
		return err
	}
	t.Lines = append(t.Lines, &Line{Child: child, Parent: parent, Line: line, nodes: len(parent.Nodes)})
	return nil
}

// At is the division of a code; nil when there is none.
func (t *Tree) At(code string) *District {
	for _, d := range t.Divisions {
		if d != nil && string(d.Division.Code) == code {
			return d
		}
	}
	return nil
}

// LineOf is the line between a division and its parent; nil: it has none.
func (t *Tree) LineOf(child string) *Line {
	for _, l := range t.Lines {
		if string(l.Child.Division.Code) == child {
			return l
		}
	}
	return nil
}

// above are the divisions from d up to the anchor, d first.
func (t *Tree) above(d *District) []*District {
	list := []*District{d}
	for l := t.LineOf(string(d.Division.Code)); l != nil; l = t.LineOf(string(l.Parent.Division.Code)) {
		list = append(list, l.Parent)
	}
	return list
}

// crossed is what crossed the lines while they were cut, bytes.
func (t *Tree) crossed() int64 {
	var sum int64
	for _, l := range t.Lines {
		sum += l.Counters().WhileCut
	}
	return sum
}

// Close stops all processes, closes the lines, and removes the folder unless keep.
func (t *Tree) Close(keep bool) error {
	errs := make([]error, len(t.Divisions)+len(t.Lines))
	var wg sync.WaitGroup
	for i, d := range t.Divisions {
		if d != nil {
			wg.Go(func() { errs[i] = d.Close(true) })
		}
	}
	wg.Wait()
	for i, l := range t.Lines {
		errs[len(t.Divisions)+i] = l.Close()
	}
	err := errors.Join(errs...)
	if keep {
		return err
	}
	return errors.Join(err, os.RemoveAll(t.Dir))
}
