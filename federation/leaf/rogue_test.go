package leaf

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tongban/division"
	"tongban/federation"
)

// rogue is a leaf connection written by hand: it obeys nobody.
type rogue struct {
	conn net.Conn
	mu   sync.Mutex
	seen []string // Lines that came, and the payloads of messages.
	over bool
	done chan struct{}
}

// newRogue connects with a child's rights. connect changes the CONNECT line, change the
// certificate.
func newRogue(t testing.TB, h *hub, ca *authority, connect map[string]any, change ...func(*x509.Certificate)) *rogue {
	t.Helper()
	c, err := tls.Dial("tcp", h.Addr().String(), ca.client(t, h.ca, change...))
	if err != nil {
		t.Fatal(err)
	}
	r := &rogue{conn: c, done: make(chan struct{})}
	t.Cleanup(func() { c.Close(); <-r.done })
	go r.read()
	hello := map[string]any{"version": "2.15.2", "name": "county-511603_ROGUE", "server_id": "ROGUE", "headers": true,
		"protocol": 1, "remote_account": "HOP"}
	for k, v := range connect {
		hello[k] = v
	}
	line, err := json.Marshal(hello)
	if err != nil {
		t.Fatal(err)
	}
	r.send("CONNECT %s\r\nPING\r\n", line)
	return r
}

// read notes what comes until the connection ends.
func (r *rogue) read() {
	defer close(r.done)
	in := bufio.NewReader(r.conn)
	for {
		line, err := in.ReadString('\n')
		note := strings.TrimSpace(line)
		if f := strings.Fields(note); err == nil && len(f) > 2 && (f[0] == "LMSG" || f[0] == "LHMSG") {
			size, _ := strconv.Atoi(f[len(f)-1])
			body := make([]byte, size+2)
			_, err = io.ReadFull(in, body)
			note += " " + string(body[:size])
		}
		r.mu.Lock()
		if note != "" {
			r.seen = append(r.seen, note)
		}
		r.over = err != nil
		r.mu.Unlock()
		if err != nil {
			return
		}
		if note == "PING" {
			r.send("PONG\r\n")
		}
	}
}

func (r *rogue) send(format string, args ...any) { fmt.Fprintf(r.conn, format, args...) }

// publish sends one message.
func (r *rogue) publish(subject, reply string, body []byte) {
	if reply != "" {
		reply += " "
	}
	r.send("LMSG %s %s%d\r\n%s\r\n", subject, reply, len(body), body)
}

func (r *rogue) ended() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over
}

// saw tells whether something that came contains the text.
func (r *rogue) saw(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.seen {
		if strings.Contains(line, text) {
			return true
		}
	}
	return false
}

// joined waits until the rogue's connection is one of the hub's lines.
func (r *rogue) joined(t testing.TB, h *hub) {
	t.Helper()
	await(t, "the hub's interest, sent to the rogue", func() bool { return r.saw("LS+ up.*.rq.*") })
}

// street is a hub with an honest county, guangn; the rogue is its neighbour qianfg.
type street struct {
	*hub
	ca, honestCA, rogueCA *authority
	honest                *Server
	asked                 chan string // What reached the hub's handler.
}

func newStreet(t testing.TB) *street {
	s := &street{asked: make(chan string, 10000)}
	s.ca, s.honestCA, s.rogueCA = tree(t)
	s.hub = openHub(t, s.ca, "", func(ctx context.Context, from division.Ref, kind string, body []byte) ([]byte, error) {
		s.asked <- from.String() + " " + kind + " " + string(body)
		return echo(ctx, from, kind, body)
	})
	s.honest = openChild(t, guangn, s.honestCA, s.ca, echo, s.Addr().String())
	s.awaitLine(t, s.honest)
	return s
}

// undisturbed checks that the honest county's line works, both ways.
func (s *street) undisturbed(t testing.TB) {
	t.Helper()
	for range 20 {
		ask(t, s.honest, city, "feed", "x", "county/511602 feed x")
		ask(t, s.Server, guangn, "feed", "y", "city/511600 feed y")
	}
}

// fromOthers returns what reached the handler and was not asked by the honest county.
func (s *street) fromOthers() (list []string) {
	for {
		select {
		case a := <-s.asked:
			if !strings.HasPrefix(a, guangn.String()) {
				list = append(list, a)
			}
		default:
			return list
		}
	}
}

// theirs is a legitimate reply subject of the rogue.
const theirs = "dn.county-511603.rp.county-511603_ROGUE.ID"

func TestRogueCanDoWhatAChildMayDo(t *testing.T) {
	s := newStreet(t)
	r := newRogue(t, s.hub, s.rogueCA, nil)
	r.joined(t, s.hub)
	r.send("LS+ dn.county-511603.>\r\n")
	r.publish("up.county-511603.rq.feed", theirs, packRequest(time.Second, []byte("honestly")))
	await(t, "the answer to a legitimate request; else the tests below prove nothing",
		func() bool { return r.saw("county/511603 feed honestly") })
}

func TestRogueCannotPublishWhereItMayNot(t *testing.T) {
	for _, subject := range []string{
		"up.county-511602.rq.feed", "up.county-511602.rp.x.y", "up.city-511700.rq.feed", "up.all.rq.feed", "up.x",
		"dn.county-511602.rq.x.feed", "dn.county-511603.rq.x.feed", "dn.all.x", "dn.county-511602.rp.x.y",
		"$SYS.REQ.SERVER.PING", "$SYS.ACCOUNT.HOP.CONNECT", "$JS.API.INFO", "_INBOX.x", "$LDS.x", "$GR.x", "anything",
	} {
		t.Run(subject, func(t *testing.T) {
			s := newStreet(t)
			r := newRogue(t, s.hub, s.rogueCA, nil)
			r.joined(t, s.hub)
			r.publish(subject, theirs, packRequest(time.Second, []byte("evil")))
			await(t, "the end of the rogue's connection", r.ended)
			s.undisturbed(t)
			if got := s.fromOthers(); len(got) > 0 {
				t.Errorf("it reached the handler: %q", got)
			}
		})
	}
}

func TestRogueThatSubscribesToEverythingHearsNothingOfOthers(t *testing.T) {
	s := newStreet(t)
	r := newRogue(t, s.hub, s.rogueCA, nil)
	r.joined(t, s.hub)
	for _, subject := range []string{">", "up.>", "dn.>", "*.*.>", "up.*.rq.*", "dn.*.rq.>", "dn.*.rp.>", "_INBOX.>", "$SYS.>", "$JS.>", "_R_.>", "$LDS.>"} {
		r.send("LS+ %s\r\nLS+ %s node 1000\r\n", subject, subject)
	}
	r.publish("up.county-511603.rq.feed", theirs, packRequest(time.Second, []byte("marker")))
	await(t, "the answer to its own request", func() bool { return r.saw("county/511603 feed marker") })
	s.undisturbed(t)
	ask(t, s.honest, city, "mail", "secret-of-the-county", "county/511602 mail secret-of-the-county")
	ask(t, s.Server, guangn, "mail", "secret-of-the-city", "city/511600 mail secret-of-the-city")
	r.publish("up.county-511603.rq.feed", theirs, packRequest(time.Second, []byte("marker two")))
	await(t, "the second answer", func() bool { return r.saw("county/511603 feed marker two") })
	for _, text := range []string{"secret", "county-511602", "511602"} {
		if r.saw(text) {
			t.Errorf("the rogue heard %q", text)
		}
	}
	if r.ended() {
		t.Error("a wildcard subscription ended the connection; the test proves less than it says")
	}
}

func TestRogueCannotSubscribeToOthersByName(t *testing.T) {
	for _, subject := range []string{"dn.county-511602.rq.x.feed", "up.county-511602.rq.feed", "$SYS.REQ.SERVER.PING"} {
		s := newStreet(t)
		r := newRogue(t, s.hub, s.rogueCA, nil)
		r.joined(t, s.hub)
		r.send("LS+ %s\r\n", subject)
		await(t, "the end of the rogue's connection", r.ended)
		s.undisturbed(t)
	}
}

func TestReplySubjectOfOthersGetsNoAnswer(t *testing.T) {
	s := newStreet(t)
	r := newRogue(t, s.hub, s.rogueCA, nil)
	r.joined(t, s.hub)
	r.send("LS+ dn.county-511603.>\r\n")
	for _, reply := range []string{
		"dn.all.evil", "up.county-511602.rq.feed", "up.county-511603.rq.feed", "dn.county-511602.rq.x.feed", "dn.county-511602.rp.x.y",
		"dn.county-511603.rq.x.feed", "dn.county-511603.rp.x", "dn.county-511603.rp.x.y.z", "dn.county-511603.rp.*.y", "dn.county-511603.rp.x.>",
		"dn.county-511603.rp..y", "_INBOX.x", "$SYS.x", "dn.county-511603.rpx.a.b", "",
	} {
		r.publish("up.county-511603.rq.feed", reply, packRequest(time.Second, []byte("evil "+reply)))
	}
	r.publish("up.county-511603.rq.feed", theirs, packRequest(time.Second, []byte("marker")))
	await(t, "the answer to a legitimate request after the others", func() bool { return r.saw("county/511603 feed marker") })
	s.undisturbed(t)
	if got := s.fromOthers(); len(got) != 1 || !strings.Contains(got[0], "marker") {
		t.Errorf("the handler saw %q; want the legitimate request alone", got)
	}
	if r.saw("evil") {
		t.Error("a request with a wrong reply subject was answered")
	}
}

// The embedded server delivers a message with such a reply under the subject behind the @.
func TestRogueCannotSpeakAsAnotherByAnAcknowledgementReply(t *testing.T) {
	s := newStreet(t)
	r := newRogue(t, s.hub, s.rogueCA, nil)
	r.joined(t, s.hub)
	r.send("LS+ dn.county-511603.>\r\n")
	hub := s.down.e.name
	for _, subject := range []string{"up.county-511602.rq.feed", "up.county-511602.rp." + hub + ".x", "x", "up", "up.county-511602"} {
		for range 2 * maxStrikes { // Nor may they be held against the honest county.
			r.publish("up.county-511603.rq.feed", "$JS.ACK.a.b.c.d.e.f.g@"+subject, packRequest(time.Second, []byte("evil")))
			r.publish("up.county-511603.rp."+hub+".y", "$JS.ACK.a.b.c.d.e.f.g@"+subject, packAnswer([]byte("evil"), nil))
		}
	}
	for _, reply := range []string{"_GR_.aaaaaa.bbbbbb.dn.all.evil", "$GR.aaaa.dn.all.evil", "_R_.x.y", "$JS.ACK.a.b.c.d.e.f.g"} {
		r.publish("up.county-511603.rq.feed", reply, packRequest(time.Second, []byte("evil")))
	}
	r.publish("up.county-511603.rq.feed", theirs, packRequest(time.Second, []byte("marker")))
	await(t, "the answer to a legitimate request after the others", func() bool { return r.saw("county/511603 feed marker") })
	s.undisturbed(t)
	if got := s.fromOthers(); len(got) != 1 {
		t.Errorf("the handler saw %q; want the legitimate request alone", got)
	}
}

func TestHeadersEndTheConnection(t *testing.T) {
	s := newStreet(t)
	r := newRogue(t, s.hub, s.rogueCA, nil)
	r.joined(t, s.hub)
	header := "NATS/1.0\r\nNats-Trace-Dest: dn.all.evil\r\n\r\n"
	r.send("LHMSG up.county-511603.rq.feed %s %d %d\r\n%s\r\n", theirs, len(header), len(header), header)
	await(t, "the end of the rogue's connection", r.ended)
	s.undisturbed(t)
}

func TestForgedLateAndDoubledAnswersAreDropped(t *testing.T) {
	s := newStreet(t)
	r := newRogue(t, s.hub, s.rogueCA, nil)
	r.joined(t, s.hub)
	r.send("LS+ dn.county-511603.>\r\n")
	await(t, "a line to the rogue", func() bool { return s.Connected(qianfg) })
	result := make(chan string, 1)
	go func() {
		got, err := s.Call(within(t, 5*time.Second), qianfg, "feed", nil)
		result <- fmt.Sprintf("%s %v", got, err)
	}()
	var reply string
	await(t, "the hub's request at the rogue", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, line := range r.seen {
			if f := strings.Fields(line); f[0] == "LMSG" && strings.HasSuffix(f[1], ".feed") {
				reply = f[2]
			}
		}
		return reply != ""
	})
	r.publish(reply[:len(reply)-1]+"_", "", packAnswer([]byte("forged"), nil))
	r.publish(reply, "", packAnswer([]byte("first"), nil))
	r.publish(reply, "", packAnswer([]byte("doubled"), nil))
	if got := <-result; got != "first <nil>" {
		t.Errorf("the call ended with %q", got)
	}
	r.publish(reply, "", packAnswer([]byte("late"), nil))
	r.publish("up.county-511603.rp."+s.down.e.name+".garbage", "", []byte{0xff})
	s.undisturbed(t)
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	s := newStreet(t)
	r := newRogue(t, s.hub, s.rogueCA, nil)
	r.joined(t, s.hub)
	r.send("LS+ dn.county-511603.>\r\n")
	for i, body := range [][]byte{nil, {0}, {9, 9, 9}, {version}, {version, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}} {
		r.publish("up.county-511603.rq.feed", theirs+strconv.Itoa(i), body)
		await(t, "a refusal", func() bool { return r.saw(theirs + strconv.Itoa(i)) })
	}
	for i := range 3 * maxKinds { // Names of kinds cost memory: they are limited.
		r.publish(fmt.Sprintf("up.county-511603.rq.kind%d", i), theirs, packRequest(time.Second, nil))
	}
	r.publish("up.county-511603.rq.kind0", theirs, packRequest(time.Second, []byte("marker")))
	await(t, "the marker", func() bool { return r.saw("kind0 marker") })
	if r.saw("kind" + strconv.Itoa(2*maxKinds)) {
		t.Error("the number of kinds has no limit")
	}
	s.undisturbed(t)
}

func TestRogueThatClaimsToBeTheHubIsDropped(t *testing.T) {
	s := newStreet(t)
	r := newRogue(t, s.hub, s.rogueCA, map[string]any{"is_hub": true})
	await(t, "the end of the rogue's connection", r.ended)
	s.undisturbed(t)
	if s.Connected(qianfg) {
		t.Error("it counts as connected")
	}
}

func TestRogueWithANameThatIsNotItsOwnIsRefused(t *testing.T) {
	s := newStreet(t)
	for _, name := range []string{
		s.honest.above(city).current().e.name, "", "x", "county-511603", "county-511603_a.b", "county-511603_*", "county-511603_>",
		"county-511603_" + strings.Repeat("x", maxName),
	} {
		r := newRogue(t, s.hub, s.rogueCA, map[string]any{"name": name})
		await(t, "the end of the connection of "+name, r.ended)
		s.undisturbed(t)
	}
}

func TestRogueInAnotherAccountGainsNothing(t *testing.T) {
	for _, connect := range []map[string]any{
		{"remote_account": "$SYS", "user": "node", "pass": "x"},
		{"remote_account": "$G", "cluster": "C", "domain": "D", "jetstream": true},
		{"deny_pub": []string{">"}, "isolate": true},
	} {
		s := newStreet(t)
		r := newRogue(t, s.hub, s.rogueCA, connect)
		r.send("LS+ >\r\n")
		r.publish("up.county-511603.rq.feed", theirs, packRequest(time.Second, []byte("own")))
		s.undisturbed(t)
		for _, got := range s.fromOthers() {
			if got != "county/511603 feed own" {
				t.Errorf("%v: the handler saw %q", connect, got)
			}
		}
		if r.saw("511602") {
			t.Errorf("%v: it heard of another", connect)
		}
	}
}

func TestOversizedMessageEndsTheConnectionOfItsSender(t *testing.T) {
	s := newStreet(t)
	r := newRogue(t, s.hub, s.rogueCA, nil)
	r.joined(t, s.hub)
	go r.publish("up.county-511603.rq.feed", theirs, make([]byte, 4*federation.MaxMessage))
	await(t, "the end of the rogue's connection", r.ended)
	s.undisturbed(t)
	if got := s.fromOthers(); len(got) > 0 {
		t.Errorf("the handler saw a message of %d bytes", len(got[0]))
	}
}

func TestFloodDisturbsNobody(t *testing.T) {
	for _, c := range []struct{ what, subject, reply string }{
		{"requests", "up.county-511603.rq.feed", theirs},
		{"requests that want their answer elsewhere", "up.county-511603.rq.feed", "dn.all.evil"},
		{"requests under the name of another", "up.county-511603.rq.feed", "$JS.ACK.a.b.c.d.e.f.g@up.county-511602.rq.feed"},
		{"messages that nobody wants", "up.county-511603.anything", theirs},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := newStreet(t)
			r := newRogue(t, s.hub, s.rogueCA, nil)
			r.joined(t, s.hub)
			r.send("LS+ dn.county-511603.>\r\n")
			body := packRequest(time.Minute, make([]byte, 100))
			one := strings.Repeat(fmt.Sprintf("LMSG %s %s %d\r\n%s\r\n", c.subject, c.reply, len(body), body), 100)
			var work sync.WaitGroup
			work.Go(func() {
				for {
					if _, err := io.WriteString(r.conn, one); err != nil {
						return
					}
					s.fromOthers() // The handler's note has room again.
				}
			})
			var worst time.Duration
			for end := time.Now().Add(time.Second); time.Now().Before(end) || !r.ended() && time.Now().Before(end.Add(9*time.Second)); {
				began := time.Now()
				if _, err := s.Call(within(t, 5*time.Second), guangn, "feed", nil); err != nil {
					t.Error(err)
					break
				}
				worst = max(worst, time.Since(began))
			}
			t.Logf("the worst call to another child took %s", worst)
			await(t, "the end of the rogue's connection", r.ended)
			r.conn.Close()
			work.Wait()
			again := newRogue(t, s.hub, s.rogueCA, nil)
			await(t, "the refusal of the rogue that comes back", again.ended)
			if worst > 3*time.Second {
				t.Errorf("a call to another child took %s", worst)
			}
		})
	}
}

func TestSubscriptionsOfAChildHaveALimit(t *testing.T) {
	s := newStreet(t)
	r := newRogue(t, s.hub, s.rogueCA, nil)
	r.joined(t, s.hub)
	for i := range 10 * maxSubscriptions {
		r.send("LS+ dn.county-511603.x%d\r\n", i)
	}
	r.publish("up.county-511603.rq.feed", theirs, packRequest(time.Second, []byte("marker")))
	await(t, "the request after the subscriptions, or the end", func() bool { return len(s.fromOthers()) > 0 || r.ended() })
	if n := s.down.e.acc.TotalSubs(); n > 2*maxSubscriptions {
		t.Errorf("the hub keeps %d subscriptions", n)
	}
	s.undisturbed(t)
}

func TestWhoHasNoRightCertificateIsRefused(t *testing.T) {
	s := newStreet(t)
	foreign := newAuthority(t, guangn, newAuthority(t, city, nil)) // Same names, other keys.
	otherCity := newAuthority(t, dazhou, s.ca)                     // Signed, but no child of the table.
	expired := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	}
	misnamed := func(c *x509.Certificate) { c.DNSNames = []string{s.honestCA.name} } // Outside of the constraints.
	none := s.rogueCA.client(t, s.ca)
	none.Certificates = nil
	for name, config := range map[string]*tls.Config{
		"none": none, "of foreign keys": foreign.client(t, s.ca), "of a division that is no child": otherCity.client(t, s.ca),
		"expired": s.rogueCA.client(t, s.ca, expired), "with a sibling's name": s.rogueCA.client(t, s.ca, misnamed),
	} {
		t.Run(name, func(t *testing.T) {
			child, err := Open(Options{Self: qianfg, Handle: echo, Log: quiet(t), pace: quick})
			if err != nil {
				t.Fatal(err)
			}
			defer child.Close()
			before := s.down.e.server.NumLeafNodes()
			tries := newRelay(t, s.Addr().String)
			child.SetParent(&Parent{Ref: city, Addresses: []string{tries.addr()}, TLS: config})
			await(t, "three attempts", func() bool { return tries.count.Load() >= 3 })
			s.undisturbed(t)
			if child.Connected(city) || s.Connected(qianfg) || s.down.e.server.NumLeafNodes() != before {
				t.Error("it is connected")
			}
		})
	}
}
