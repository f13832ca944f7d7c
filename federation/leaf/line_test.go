package leaf

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tongban/division"
	"tongban/federation"
)

func TestALineThatIsCutIsNoticedAndHeals(t *testing.T) {
	cityCA, aCA, _ := tree(t)
	started, release := make(chan bool, 1), make(chan bool)
	h := openHub(t, cityCA, "", func(ctx context.Context, from division.Ref, kind string, body []byte) ([]byte, error) {
		if kind == "wait" {
			started <- true
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return echo(ctx, from, kind, body)
	})
	r := newRelay(t, h.Addr().String)
	child := openChild(t, guangn, aCA, cityCA, echo, r.addr())
	h.awaitLine(t, child)

	ended := make(chan error, 1)
	go func() {
		_, err := child.Call(context.Background(), city, "wait", nil)
		ended <- err
	}()
	<-started
	above, below := child.Changed(), h.Changed()
	r.setCut(true)
	for _, c := range []<-chan struct{}{above, below} {
		select {
		case <-c:
		case <-time.After(time.Second):
			t.Error("nobody was told within a second that the line is down")
		}
	}
	if child.Connected(city) || h.Connected(guangn) {
		t.Error("the line is still said to be up")
	}
	select {
	case err := <-ended:
		if err == nil || errors.Is(err, federation.ErrUnreachable) {
			t.Errorf("the call during the cut: %v; want an error that leaves open whether it arrived", err)
		}
	case <-time.After(time.Second):
		t.Error("the call did not end with the line")
	}
	before := r.bytes.Load()
	if _, err := child.Call(within(t, time.Second), city, "feed", nil); !errors.Is(err, federation.ErrUnreachable) {
		t.Errorf("a call while cut: %v", err)
	}
	if _, err := h.Call(within(t, time.Second), guangn, "feed", nil); !errors.Is(err, federation.ErrUnreachable) {
		t.Errorf("a call down while cut: %v", err)
	}
	if now := r.bytes.Load(); now != before {
		t.Errorf("%d bytes crossed while cut", now-before)
	}
	close(release)
	r.setCut(false)
	h.awaitLine(t, child)
	ask(t, child, city, "feed", "again", "county/511602 feed again")
	ask(t, h.Server, guangn, "feed", "again", "city/511600 feed again")
}

// Connected means that a call works, at once: else the caller would wait for its next turn.
func TestACallWorksAsSoonAsChangedSaysSo(t *testing.T) {
	cityCA, aCA, _ := tree(t)
	h := openHub(t, cityCA, "", echo)
	r := newRelay(t, h.Addr().String)
	child := openChild(t, guangn, aCA, cityCA, echo, r.addr())
	for round := range 10 {
		for _, s := range []struct {
			*Server
			to division.Ref
		}{{child, city}, {h.Server, guangn}} {
			for !s.Connected(s.to) {
				c := s.Changed()
				if s.Connected(s.to) {
					break
				}
				select {
				case <-c:
				case <-time.After(5 * time.Second):
					t.Fatal("never came: the line")
				}
			}
			if _, err := s.Call(within(t, 5*time.Second), s.to, "feed", nil); err != nil {
				t.Fatalf("round %d, %s to %s: %v", round, s.o.Self, s.to, err)
			}
		}
		r.setCut(true)
		await(t, "the end of the line", func() bool { return !child.Connected(city) && !h.Connected(guangn) })
		r.setCut(false)
	}
}

func TestParentAndChildRestart(t *testing.T) {
	cityCA, aCA, bCA := tree(t)
	h := openHub(t, cityCA, "", echo)
	address := h.Addr().String()
	a := openChild(t, guangn, aCA, cityCA, echo, address)
	b := openChild(t, qianfg, bCA, cityCA, echo, address)
	h.awaitLine(t, a)
	h.awaitLine(t, b)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, "the end of the lines", func() bool { return !a.Connected(city) && !b.Connected(city) })
	h = openHub(t, cityCA, address, echo)
	h.awaitLine(t, a)
	h.awaitLine(t, b)
	ask(t, a, city, "feed", "1", "county/511602 feed 1")
	ask(t, h.Server, qianfg, "feed", "1", "city/511600 feed 1")

	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, "the end of the child's line", func() bool { return !h.Connected(guangn) })
	if !h.Connected(qianfg) {
		t.Error("the other child has lost its line too")
	}
	a = openChild(t, guangn, aCA, cityCA, echo, address)
	h.awaitLine(t, a)
	ask(t, h.Server, guangn, "feed", "2", "city/511600 feed 2")
}

func TestTheParentChangesWhileRunning(t *testing.T) {
	cityCA, aCA, _ := tree(t)
	first := openHub(t, cityCA, "", echo)
	second := openHub(t, cityCA, "", echo)
	child := openChild(t, guangn, aCA, cityCA, echo, first.Addr().String())
	first.awaitLine(t, child)
	child.SetParent(&Parent{Ref: city, Addresses: []string{second.Addr().String()}, TLS: aCA.client(t, cityCA)})
	second.awaitLine(t, child)
	await(t, "the end of the first line", func() bool { return !first.Connected(guangn) })
	ask(t, second.Server, guangn, "feed", "", "city/511600 feed ")
	child.SetParent(nil)
	await(t, "the end of the second line", func() bool { return !second.Connected(guangn) && !child.Connected(city) })
	if _, err := child.Call(within(t, time.Second), city, "feed", nil); !errors.Is(err, federation.ErrUnreachable) {
		t.Errorf("a call without a parent: %v", err)
	}
}

func TestOneOfSeveralAddressesIsEnough(t *testing.T) {
	cityCA, aCA, _ := tree(t)
	h := openHub(t, cityCA, "", echo)
	child := openChild(t, guangn, aCA, cityCA, echo, "127.0.0.1:1", h.Addr().String(), "127.0.0.1:2")
	h.awaitLine(t, child)
}

func TestThreeNodesOfAChild(t *testing.T) {
	cityCA, aCA, _ := tree(t)
	h := openHub(t, cityCA, "", echo)
	var nodes []*Server
	for i := range 3 {
		nodes = append(nodes, openChild(t, guangn, aCA, cityCA, func(context.Context, division.Ref, string, []byte) ([]byte, error) {
			return fmt.Appendf(nil, "node %d", i), nil
		}, h.Addr().String()))
		h.awaitLine(t, nodes[i])
	}
	who := func() map[string]int {
		seen := map[string]int{}
		for range 30 {
			b, err := h.Call(within(t, 5*time.Second), guangn, "feed", nil)
			if err != nil {
				t.Fatalf("with one node down a call must find another: %v", err)
			}
			seen[string(b)]++
		}
		return seen
	}
	await(t, "answers of all three", func() bool { return len(who()) == 3 })
	for i, n := range nodes { // Each asks for itself and has its own answer.
		ask(t, n, city, "feed", fmt.Sprint(i), fmt.Sprintf("county/511602 feed %d", i))
	}
	nodes[0].Close()
	if seen := who(); seen["node 0"] != 0 || seen["node 1"] == 0 || seen["node 2"] == 0 {
		t.Errorf("after the first node ended: %v", seen)
	}
	if !h.Connected(guangn) {
		t.Error("the child is said to have no line")
	}
}

func TestAKickedChildIsGoneAtOnce(t *testing.T) {
	cityCA, aCA, bCA := tree(t)
	started, ended := make(chan bool, 1), make(chan error, 1)
	h := openHub(t, cityCA, "", func(ctx context.Context, from division.Ref, kind string, body []byte) ([]byte, error) {
		if kind == "wait" {
			started <- true
			<-ctx.Done()
			ended <- ctx.Err()
		}
		return echo(ctx, from, kind, body)
	})
	a := openChild(t, guangn, aCA, cityCA, echo, h.Addr().String())
	b := openChild(t, qianfg, bCA, cityCA, echo, h.Addr().String())
	h.awaitLine(t, a)
	h.awaitLine(t, b)
	go func() { _, _ = a.Call(context.Background(), city, "wait", nil) }()
	<-started
	h.setRefused(guangn, true)
	h.Kick(guangn)
	if _, err := h.Call(within(t, time.Second), guangn, "feed", nil); !errors.Is(err, federation.ErrUnreachable) {
		t.Errorf("a call right after the kick: %v", err)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the handler of the kicked child goes on")
	}
	await(t, "the end of the kicked line", func() bool { return !a.Connected(city) && !h.Connected(guangn) })
	for range 20 {
		ask(t, b, city, "feed", "", "county/511603 feed ")
		if h.Connected(guangn) {
			t.Fatal("it came back")
		}
	}
	h.setRefused(guangn, false)
	h.awaitLine(t, a)
	ask(t, a, city, "feed", "", "county/511602 feed ")
}

func TestALineEndsWithItsCertificate(t *testing.T) {
	cityCA, aCA, _ := tree(t)
	h := openHub(t, cityCA, "", echo)
	child, err := Open(Options{Self: guangn, Handle: echo, Log: quiet(t), pace: quick})
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	end := time.Now().Truncate(time.Second).Add(2 * time.Second)
	child.SetParent(&Parent{Ref: city, Addresses: []string{h.Addr().String()}, TLS: aCA.client(t, cityCA, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = end.Add(-time.Hour), end
	})})
	h.awaitLine(t, child)
	await(t, "the end of the line", func() bool { return !h.Connected(guangn) && !child.Connected(city) })
	if late := time.Since(end); late < 0 || late > time.Second {
		t.Errorf("the line ended %s after its certificate", late)
	}
}

// A black hole: connections stand, nothing passes.
func TestALineThatDoesNotMoveIsDownAndDialledAnew(t *testing.T) {
	for _, side := range []string{"parent", "child"} {
		t.Run(side+" asks", func(t *testing.T) {
			cityCA, aCA, _ := tree(t)
			h := openHub(t, cityCA, "", echo)
			r := newRelay(t, h.Addr().String)
			child := openChild(t, guangn, aCA, cityCA, echo, r.addr())
			h.awaitLine(t, child)
			asks, to := child, city
			if side == "parent" {
				asks, to = h.Server, guangn
			}
			connections := r.count.Load()
			r.frozen.Store(true)
			if _, err := asks.Call(within(t, 100*time.Millisecond), to, "feed", nil); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("a call into the black hole: %v", err)
			}
			await(t, "the line said to be down", func() bool { return !asks.Connected(to) })
			await(t, "a new connection", func() bool { return r.count.Load() > connections })
			r.setCut(true) // What was swallowed would be missing in the new connections.
			r.frozen.Store(false)
			r.setCut(false)
			h.awaitLine(t, child)
			ask(t, asks, to, "feed", "", asks.o.Self.String()+" feed ")
		})
	}
}

func TestASlowHandlerDoesNotMakeALineDown(t *testing.T) {
	cityCA, aCA, _ := tree(t)
	h := openHub(t, cityCA, "", func(ctx context.Context, _ division.Ref, _ string, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	child := openChild(t, guangn, aCA, cityCA, echo, h.Addr().String())
	h.awaitLine(t, child)
	changed := child.Changed()
	for range 5 {
		if _, err := child.Call(within(t, 50*time.Millisecond), city, "feed", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a call to a slow handler: %v", err)
		}
	}
	await(t, "the answer to the question whether the line moves", func() bool {
		s := child.above(city).current()
		return !s.asking.Load()
	})
	select {
	case <-changed:
		t.Error("the line was said to have changed")
	default:
	}
}

func TestASlowChildDoesNotHoldUpOthers(t *testing.T) {
	cityCA, aCA, bCA := tree(t)
	release := make(chan struct{})
	var running, most atomic.Int64
	h := openHub(t, cityCA, "", func(ctx context.Context, from division.Ref, kind string, body []byte) ([]byte, error) {
		if kind == "slow" {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return echo(ctx, from, kind, body)
	})
	a := openChild(t, guangn, aCA, cityCA, echo, h.Addr().String())
	b := openChild(t, qianfg, bCA, cityCA, echo, h.Addr().String())
	h.awaitLine(t, a)
	h.awaitLine(t, b)
	var calls sync.WaitGroup
	var served, refused atomic.Int64
	const asked = maxRunning + maxQueued + 50
	for range asked {
		calls.Go(func() {
			_, err := a.Call(within(t, 20*time.Second), city, "slow", nil)
			switch {
			case err == nil:
				served.Add(1)
			case strings.Contains(err.Error(), "too_many"):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	await(t, "handlers and queue of the slow child full", func() bool { return running.Load() == maxRunning && refused.Load() == 50 })
	ask(t, b, city, "slow0", "", "county/511603 slow0 ")
	ask(t, b, city, "feed", "", "county/511603 feed ")
	ask(t, a, city, "feed", "", "county/511602 feed ") // Another kind has its own lane.
	ask(t, h.Server, guangn, "feed", "", "city/511600 feed ")
	close(release)
	calls.Wait()
	if most.Load() > maxRunning || served.Load() != asked-50 {
		t.Errorf("%d ran at once, %d were served", most.Load(), served.Load())
	}
}

// A child whose line takes nothing must not hold up what is sent to others.
func TestAChildThatReadsNothingDoesNotHoldUpOthers(t *testing.T) {
	s := newStreet(t)
	r := newRogue(t, s.hub, s.rogueCA, nil)
	r.joined(t, s.hub)
	r.send("LS+ dn.county-511603.>\r\n")
	await(t, "a line to the one that reads nothing", func() bool { return s.Connected(qianfg) })
	r.mu.Lock() // Its reader stops at the next line.
	big := make([]byte, federation.MaxMessage)
	var calls sync.WaitGroup
	for range 100 {
		calls.Go(func() { _, _ = s.Call(within(t, time.Second), qianfg, "feed", big) })
	}
	began := time.Now()
	s.undisturbed(t)
	calls.Wait()
	s.undisturbed(t)
	r.mu.Unlock()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("40 calls of the other child took %s", took)
	}
}

func TestCloseEndsCallsAndHandlers(t *testing.T) {
	cityCA, aCA, _ := tree(t)
	started := make(chan bool, 1)
	h := openHub(t, cityCA, "", func(ctx context.Context, _ division.Ref, _ string, _ []byte) ([]byte, error) {
		started <- true
		<-ctx.Done()
		return nil, ctx.Err()
	})
	child := openChild(t, guangn, aCA, cityCA, echo, h.Addr().String())
	h.awaitLine(t, child)
	ended := make(chan error, 1)
	go func() {
		_, err := child.Call(context.Background(), city, "feed", nil)
		ended <- err
	}()
	<-started
	h.Close()
	child.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the call succeeded")
		}
	case <-time.After(5 * time.Second):
		t.Error("the call goes on")
	}
	if _, err := child.Call(within(t, time.Second), city, "feed", nil); !errors.Is(err, federation.ErrUnreachable) {
		t.Errorf("a call after Close: %v", err)
	}
	h.Close()
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	cityCA, _, _ := tree(t)
	h := openHub(t, cityCA, "", echo)
	for want, o := range map[string]Options{
		"Options.Self":            {Handle: echo},
		"Options.Handle":          {Self: city},
		"needs Server":            {Self: city, Handle: echo, Listen: "127.0.0.1:0"},
		"address already in use":  {Self: city, Handle: echo, Listen: h.Addr().String(), Server: cityCA.server(t, cityCA), Authorize: grantOf},
		"missing port in address": {Self: city, Handle: echo, Listen: "127.0.0.1", Server: cityCA.server(t, cityCA), Authorize: grantOf},
	} {
		if s, err := Open(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want an error with %q", err, want)
			if err == nil {
				s.Close()
			}
		}
	}
}
