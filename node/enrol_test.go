package node_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/node"
	"tongban/node/client"
	"tongban/node/enrol"
	"tongban/node/join"
	"tongban/node/nodetest"
	"tongban/node/trust"
)

var (
	cityRef   = division.Ref{Level: division.City, Code: "511600"}
	countyRef = division.Ref{Level: division.County, Code: "511602"}
)

// family is a city and a district on their own boxes, under one clock.
type family struct {
	t              *testing.T
	city, district *nodetest.Cluster
	ahead          atomic.Int64 // Of the world's clock, nanoseconds.
}

func newFamily(t *testing.T, options ...nodetest.Option) *family {
	f := &family{t: t}
	options = append(options, nodetest.Clock(f.now))
	f.district = nodetest.Division(t, 1, options...)
	f.city = nodetest.Division(t, 1, append(options, nodetest.Place("511600", ""))...)
	return f
}

func (f *family) now() time.Time { return time.Now().Add(time.Duration(f.ahead.Load())) }

// mint makes an enrolment token at the city.
func (f *family) mint(code string, replace bool) node.ChildTokenReply {
	f.t.Helper()
	var reply node.ChildTokenReply
	if err := post(f.t, f.city, "/node/child/token", node.ChildTokenRequest{Code: code, Replace: replace}, &reply); err != nil {
		f.t.Fatalf("mint a token for %s: %v", code, err)
	}
	return reply
}

func post(t *testing.T, c *nodetest.Cluster, path string, in, out any) error {
	t.Helper()
	admin := c.Admin(0)
	defer admin.Close()
	return admin.Post(t.Context(), path, in, out)
}

func (f *family) children() node.ChildList {
	f.t.Helper()
	var list node.ChildList
	admin := f.city.Admin(0)
	defer admin.Close()
	if err := admin.Get(f.t.Context(), "/node/child", &list); err != nil {
		f.t.Fatal(err)
	}
	return list
}

func (f *family) enrol(in node.EnrolRequest) (out node.EnrolReply, err error) {
	f.t.Helper()
	return out, post(f.t, f.district, "/node/enrol", in, &out)
}

// refused checks that err is a refusal for the reason, in one sentence.
func refused(t *testing.T, what string, err error, want join.Reason) {
	t.Helper()
	var p *client.Problem
	if !errors.As(err, &p) || p.Reason != string(want) || len(p.Detail) < 40 || strings.Contains(p.Detail, "\n") {
		t.Errorf("%s: %v, want %s in a sentence", what, err, want)
	}
}

func TestADistrictIsEnrolledByToken(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	minted := f.mint("511602", false)
	if minted.Child != countyRef || minted.Name != "四川省广安市广安区" || minted.Enrolled || !minted.LocalPorts || !minted.LocalLinks {
		t.Errorf("minted: %+v", minted)
	}
	tried, err := f.enrol(node.EnrolRequest{Token: minted.Token, DryRun: true})
	if err != nil || tried.Parent != cityRef || tried.Again || !tried.DryRun || len(tried.Links) != 1 {
		t.Errorf("tried: %+v, %v", tried, err)
	}
	if list := f.children(); len(list.Children) != 0 || len(list.Tokens) == 0 || list.Tokens[0].Ref != countyRef {
		t.Errorf("after a dry run: %+v", list)
	}
	link := f.city.Config(0).Link.Listen
	done, err := f.enrol(node.EnrolRequest{Token: minted.Token})
	if err != nil || done.Parent != cityRef || done.Name != "四川省广安市" || done.Again || len(done.Links) != 1 || done.Links[0] != link {
		t.Fatalf("enrolled: %+v, %v", done, err)
	}
	list := f.children()
	if len(list.Children) != 1 || list.Children[0].Ref != countyRef || list.Children[0].State != federation.Active || list.Children[0].Since.IsZero() {
		t.Errorf("children: %+v", list.Children)
	}

	again, err := f.enrol(node.EnrolRequest{Token: minted.Token, Links: []string{"192.0.2.1:7303"}})
	if err != nil || !again.Again || again.Links[0] != "192.0.2.1:7303" {
		t.Errorf("the same again, with other addresses: %+v, %v", again, err)
	}
	if len(f.children().Children) != 1 {
		t.Error("enrolling twice made two children")
	}
	if again := f.mint("511602", false); !again.Enrolled {
		t.Error("a token for an enrolled child does not say so")
	}
	f.holdAndFree()
	f.refusesOthers(minted)
}

func (f *family) holdAndFree() {
	t := f.t
	var s node.ChildStatus
	if err := post(t, f.city, "/node/child/hold", node.ChildRequest{Child: "511602"}, &s); err != nil || s.State != federation.Held {
		t.Errorf("hold: %+v, %v", s, err)
	}
	if c := f.children().Children[0]; c.State != federation.Held || c.Reason != federation.HeldOperator {
		t.Errorf("held: %+v", c)
	}
	if err := post(t, f.city, "/node/child/free", node.ChildRequest{Child: "county/511602"}, &s); err != nil || s.State != federation.Active {
		t.Errorf("free: %+v, %v", s, err)
	}
	if c := f.children().Children[0]; c.State != federation.Active || c.Reason != "" {
		t.Errorf("freed: %+v", c)
	}
	refused(t, "hold a stranger", post(t, f.city, "/node/child/hold", node.ChildRequest{Child: "511603"}, nil), enrol.NoChild)
	if err := post(t, f.city, "/node/child/hold", node.ChildRequest{Child: "5116"}, nil); err == nil {
		t.Error("a code of four digits was held")
	}
}

// refusesOthers tries what operators get wrong, at a district that is enrolled.
func (f *family) refusesOthers(used node.ChildTokenReply) {
	t := f.t
	for _, c := range []struct {
		what string
		in   node.ChildTokenRequest
		want string
	}{
		{"an unknown code", node.ChildTokenRequest{Code: "519999"}, "did you mean"},
		{"no code", node.ChildTokenRequest{Code: "5116"}, "6"},
		{"a group of the code list", node.ChildTokenRequest{Code: "511601"}, "of its own"},
		{"a township", node.ChildTokenRequest{Code: "511602001"}, "outlet of its county"},
		{"the city itself", node.ChildTokenRequest{Code: "511600"}, "not below"},
		{"another city's district", node.ChildTokenRequest{Code: "510104"}, "not below"},
		{"the province", node.ChildTokenRequest{Code: "510000"}, "not below"},
		{"a level that it has not", node.ChildTokenRequest{Code: "511602", Level: "city"}, "is no city"},
		{"a validity of no time", node.ChildTokenRequest{Code: "511602", Valid: "soon"}, "72h"},
		{"a validity of a year", node.ChildTokenRequest{Code: "511602", Valid: "9000h"}, "at most"},
	} {
		err := post(t, f.city, "/node/child/token", c.in, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("a token for %s: %v, want %q", c.what, err, c.want)
		}
	}
	other := f.mint("511603", false)
	_, err := f.enrol(node.EnrolRequest{Token: other.Token})
	refused(t, "another division's token", err, enrol.OtherDivision)
	_, err = f.enrol(node.EnrolRequest{Token: used.Token[:len(used.Token)-3]})
	refused(t, "a token that is cut off", err, enrol.BadToken)
	_, err = f.enrol(node.EnrolRequest{Token: used.Token, Links: []string{"nowhere"}})
	refused(t, "a link that is no address", err, enrol.BadToken)

	tok := f.parse(used)
	tok.Parent = division.Ref{Level: division.Province, Code: "510000"}
	_, err = f.enrol(node.EnrolRequest{Token: tok.String()})
	refused(t, "another parent's token", err, enrol.OtherParent)
	tok = f.parse(used)
	tok.Fingerprint = strings.Repeat("00", 32)
	if _, err := f.enrol(node.EnrolRequest{Token: tok.String()}); err == nil || !strings.Contains(err.Error(), "another division than the token's parent") {
		t.Errorf("a wrong fingerprint: %v", err)
	}
	late := f.mint("511602", false)
	f.ahead.Add(int64(node.DefaultChildTokenValid + time.Hour))
	_, err = f.enrol(node.EnrolRequest{Token: late.Token})
	refused(t, "an expired token", err, enrol.TokenExpired)
	if again, err := f.enrol(node.EnrolRequest{Token: used.Token}); err != nil || !again.Again {
		t.Errorf("after an answer that was lost, with the same token, which has expired meanwhile: %+v, %v", again, err)
	}
	if n := len(f.children().Tokens); n != 0 {
		t.Errorf("%d expired tokens are listed", n)
	}
}

func (f *family) parse(reply node.ChildTokenReply) enrol.Token {
	f.t.Helper()
	tok, err := enrol.ParseToken(reply.Token)
	if err != nil {
		f.t.Fatal(err)
	}
	return tok
}

// TestAParentRefusesWhatATokenDoesNotProve speaks the protocol itself: a child's own checks
// keep nobody out.
func TestAParentRefusesWhatATokenDoesNotProve(t *testing.T) {
	t.Parallel()
	f := &family{t: t}
	f.city = nodetest.Division(t, 1, nodetest.Clock(f.now), nodetest.Place("511600", ""))
	first, second := authority(t), authority(t)
	tok := f.parse(f.mint("511602", false))

	ask := func(tok enrol.Token, r enrol.Request, change func(*enrol.Document)) (enrol.Document, error) {
		d, err := enrol.Prove(enrol.ForRequest, tok.ID, tok.Secret, r)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(&d)
		}
		return enrol.Ask(context.Background(), tok, d, f.now)
	}
	refuses := func(what string, want join.Reason, tok enrol.Token, r enrol.Request, change func(*enrol.Document)) {
		t.Helper()
		var got *join.Refusal
		if _, err := ask(tok, r, change); !errors.As(err, &got) || got.Reason != want || len(got.Error()) < 40 {
			t.Errorf("%s: %v, want %s in a sentence", what, err, want)
		}
	}
	good := enrol.Request{Child: countyRef, CSR: first}
	refuses("an altered proof", enrol.Forged, tok, good, func(d *enrol.Document) { d.Proof[0] ^= 1 })
	refuses("an altered body", enrol.Forged, tok, good, func(d *enrol.Document) { d.Body = bytes.Replace(d.Body, []byte("511602"), []byte("511603"), 1) })
	refuses("a token that nobody minted", enrol.TokenUnknown, tok, good, func(d *enrol.Document) { d.Token = "0000000000000000" })
	refuses("a later version", enrol.Version, tok, good, func(d *enrol.Document) { d.Version = 2 })
	refuses("another division's request", enrol.OtherDivision, tok, enrol.Request{Child: division.Ref{Level: division.County, Code: "511603"}, CSR: first}, nil)
	refuses("no certificate request", enrol.Malformed, tok, enrol.Request{Child: countyRef, CSR: []byte("none")}, nil)
	if n := len(f.children().Children); n != 0 {
		t.Fatalf("%d children were entered by refused requests", n)
	}

	answered, err := ask(tok, good, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.checkChain(tok, answered)
	repeated, err := ask(tok, enrol.Request{Child: countyRef, CSR: first, Name: "again"}, nil)
	if err != nil || !bytes.Equal(repeated.Body, answered.Body) || !bytes.Equal(repeated.Proof, answered.Proof) {
		t.Errorf("the same request after a lost answer is answered otherwise: %v", err)
	}
	refuses("a used token", enrol.TokenUsed, tok, enrol.Request{Child: countyRef, CSR: second}, nil)

	refuses("another authority under the same name", enrol.OtherKey, f.parse(f.mint("511602", false)), enrol.Request{Child: countyRef, CSR: second}, nil)
	if _, err := ask(f.parse(f.mint("511602", true)), enrol.Request{Child: countyRef, CSR: second}, nil); err != nil {
		t.Errorf("another authority with a token that replaces: %v", err)
	}
	late := f.parse(f.mint("511602", true))
	f.ahead.Add(int64(node.DefaultChildTokenValid + time.Hour))
	refuses("an expired token", enrol.TokenExpired, late, enrol.Request{Child: countyRef, CSR: second}, nil)
	if repeated, err := ask(tok, good, nil); err != nil || !bytes.Equal(repeated.Body, answered.Body) {
		t.Errorf("a lost answer, asked for after the token has expired: %v", err)
	}
}

// checkChain checks that the answer has a chain that a child can live by.
func (f *family) checkChain(tok enrol.Token, answered enrol.Document) {
	f.t.Helper()
	var a enrol.Answer
	if err := answered.Open(enrol.ForAnswer, tok.Secret, &a); err != nil {
		f.t.Fatal(err)
	}
	chain, err := trust.ParseChain(a.Chain)
	if err != nil || len(chain) != 2 || trust.Fingerprint(chain[1]) != tok.Fingerprint {
		f.t.Fatalf("a chain of %d, %v", len(chain), err)
	}
	list, err := trust.VerifyChain(chain, chain[1], f.now())
	if err != nil || list[0].DNS() != "511602.511600.tongban.internal" || a.Child != countyRef || a.Parent != cityRef {
		f.t.Errorf("the chain is of %v, %v; the answer is of %s below %s", list, err, a.Child, a.Parent)
	}
}

// authority returns a certificate request of a new authority of the district.
func authority(t *testing.T) []byte {
	t.Helper()
	a, err := trust.NewAuthority(trust.Of(countyRef), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	csr, err := a.Request()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x509.ParseCertificateRequest(csr); err != nil {
		t.Fatal(err)
	}
	return csr
}
