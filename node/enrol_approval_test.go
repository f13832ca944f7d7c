package node_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/node"
	"tongban/node/client"
	"tongban/node/enrol"
	"tongban/node/exit"
)

// keyOf is the fingerprint in a refusal that says who waits.
func keyOf(t *testing.T, err error) string {
	t.Helper()
	var p *client.Problem
	if !errors.As(err, &p) || p.Reason != string(enrol.Waiting) || exit.Code(err) != exit.Temporary {
		t.Fatalf("%v, want %s", err, enrol.Waiting)
	}
	_, after, _ := strings.Cut(p.Detail, "with the key ")
	key, _, _ := strings.Cut(after, ";")
	if len(key) != 39 {
		t.Fatalf("the refusal has no key: %s", p.Detail)
	}
	return key
}

// byAdmin sets the city's policy.
func (f *family) byAdmin() {
	f.t.Helper()
	if err := post(f.t, f.city, "/node/child/policy", node.ChildPolicy{Approval: federation.ByAdmin}, nil); err != nil {
		f.t.Fatal(err)
	}
}

func (f *family) judge(verb string, in node.ChildApproval) (out node.ChildApproved, err error) {
	f.t.Helper()
	return out, post(f.t, f.city, "/node/child/"+verb, in, &out)
}

func TestADistrictWaitsForApproval(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	f.byAdmin()
	token := f.mint("511602", false).Token
	if tried, err := f.enrol(node.EnrolRequest{Token: token, DryRun: true}); err != nil || !tried.Waits {
		t.Errorf("tried: %+v, %v", tried, err)
	}
	if list := f.children(); len(list.Waiting) != 0 || list.Approval != federation.ByAdmin {
		t.Errorf("after a dry run: %+v", list)
	}
	_, err := f.enrol(node.EnrolRequest{Token: token})
	key := keyOf(t, err)
	list := f.children()
	if len(list.Children) != 0 || len(list.Tokens) != 0 || len(list.Waiting) != 1 || list.Waiting[0].Key != key || list.Waiting[0].Ref != countyRef {
		t.Fatalf("who waits: %+v, its key is %s", list, key)
	}
	f.ahead.Add(int64(node.DefaultChildTokenValid + time.Hour)) // The token ends while it waits.
	_, err = f.enrol(node.EnrolRequest{Token: token})
	if again := keyOf(t, err); again != key || !f.children().Waiting[0].Since.Equal(list.Waiting[0].Since) {
		t.Errorf("asked again: key %s, then %s, since %v", key, again, f.children().Waiting[0].Since)
	}

	refusals := map[string]node.ChildApproval{"another division": {Children: []string{"511603"}}, "another key": {Children: []string{"511602"}, Key: "0000 1111"},
		"one that waits and one that does not": {Children: []string{"511602", "511603"}}}
	for what, in := range refusals {
		_, err := f.judge("approve", in)
		refused(t, what, err, enrol.NotWaiting)
	}
	for what, in := range map[string]node.ChildApproval{"nobody": {}, "some and all": {All: true, Children: []string{"511602"}}, "a key of all": {All: true, Key: "00"}} {
		if _, err := f.judge("approve", in); err == nil || exit.Code(err) == exit.OK || len(err.Error()) < 20 {
			t.Errorf("approve %s: %v", what, err)
		}
	}
	if tried, err := f.judge("approve", node.ChildApproval{All: true, DryRun: true}); err != nil || len(tried.Children) != 1 || len(f.children().Waiting) != 1 {
		t.Errorf("tried to approve: %+v, %v", tried, err)
	}
	if done, err := f.judge("approve", node.ChildApproval{Children: []string{"511602"}, Key: key[:9]}); err != nil || len(done.Children) != 1 || done.Children[0].Key != key {
		t.Fatalf("approved: %+v, %v", done, err)
	}
	if list := f.children(); len(list.Waiting) != 0 || len(list.Children) != 0 {
		t.Errorf("approved, but the district has not come again: %+v", list)
	}
	if done, err := f.enrol(node.EnrolRequest{Token: token}); err != nil || done.Parent != cityRef {
		t.Fatalf("enrolled: %+v, %v", done, err)
	}
	if again, err := f.enrol(node.EnrolRequest{Token: f.mint("511602", false).Token}); err != nil || !again.Again {
		t.Errorf("a child that enrols again with its own key needs no approval: %+v, %v", again, err)
	}
}

// TestATokenThatSomebodyElseUsedFirstIsNoticed: a thief waits with a key of his own; the
// district is told, and the thief is refused for good.
func TestATokenThatSomebodyElseUsedFirstIsNoticed(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	f.byAdmin()
	minted := f.mint("511602", false)
	steal := func(tok enrol.Token) error {
		d, err := enrol.Prove(enrol.ForRequest, tok.ID, tok.Secret, enrol.Request{Child: countyRef, CSR: authority(t)})
		if err == nil {
			_, err = enrol.Ask(t.Context(), tok, d, f.now)
		}
		return err
	}
	if err := steal(f.parse(minted)); err == nil || !strings.Contains(err.Error(), "waits for approval") {
		t.Fatalf("the thief: %v", err)
	}
	_, err := f.enrol(node.EnrolRequest{Token: minted.Token})
	refused(t, "the district, second", err, enrol.OtherAsks)

	second := f.mint("511602", false)
	_, err = f.enrol(node.EnrolRequest{Token: second.Token})
	key := keyOf(t, err)
	_, err = f.judge("approve", node.ChildApproval{All: true})
	refused(t, "two in one name", err, enrol.SeveralWait)
	_, err = f.judge("approve", node.ChildApproval{Children: []string{"511602"}})
	refused(t, "two in one name", err, enrol.SeveralWait)
	if _, err := f.judge("approve", node.ChildApproval{Children: []string{"county/511602"}, Key: key}); err != nil {
		t.Fatal(err)
	}
	if done, err := f.judge("refuse", node.ChildApproval{All: true}); err != nil || len(done.Children) != 1 || done.Children[0].Key == key {
		t.Errorf("refused: %+v, %v", done, err)
	}
	if err := steal(f.parse(minted)); err == nil || !strings.Contains(err.Error(), "does not know this token") {
		t.Errorf("the thief, once refused: %v", err)
	}
	if err := steal(f.parse(second)); err == nil || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("the thief, with the token that was approved for another: %v", err)
	}
	if _, err := f.enrol(node.EnrolRequest{Token: second.Token}); err != nil {
		t.Error(err)
	}
}

// TestApprovalIsAskedForFilesToo, and for another authority of a child.
func TestApprovalIsAskedForFilesToo(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	if _, err := f.enrol(node.EnrolRequest{Token: f.mint("511602", false).Token}); err != nil {
		t.Fatal(err)
	}
	f.byAdmin()
	tok := f.parse(f.mint("511602", true))
	d, err := enrol.Prove(enrol.ForRequest, tok.ID, tok.Secret, enrol.Request{Child: countyRef, CSR: authority(t)})
	if err != nil {
		t.Fatal(err)
	}
	in := node.ChildAnswerRequest{File: enrol.File{Kind: enrol.RequestFile, Child: countyRef, Parent: cityRef, Document: d}}
	var out node.ChildAnswerReply
	in.DryRun = true
	if err := post(t, f.city, "/node/child/answer", in, &out); err != nil || !out.Waits {
		t.Errorf("tried: %+v, %v", out, err)
	}
	in.DryRun = false
	key := keyOf(t, post(t, f.city, "/node/child/answer", in, nil))
	if w := f.children().Waiting; len(w) != 1 || w[0].Key != key || !w[0].Replace {
		t.Errorf("who waits: %+v", w)
	}
	if _, err := f.judge("approve", node.ChildApproval{All: true}); err != nil {
		t.Fatal(err)
	}
	if err := post(t, f.city, "/node/child/answer", in, &out); err != nil || out.Child != (division.Ref{Level: division.County, Code: "511602"}) || out.Waits {
		t.Errorf("answered: %+v, %v", out, err)
	}
	if err := post(t, f.city, "/node/child/policy", node.ChildPolicy{Approval: "perhaps"}, nil); err == nil || exit.Code(err) == exit.OK {
		t.Errorf("a policy that there is not: %v", err)
	}
}
