package node_test

import (
	"bytes"
	"testing"
	"time"

	"tongban/node"
	"tongban/node/enrol"
	"tongban/node/nodetest"
)

// carry writes a file to a stick and reads it again.
func carry(t *testing.T, f enrol.File, kind enrol.Kind) enrol.File {
	t.Helper()
	text, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := enrol.DecodeFile(text, kind)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestADistrictIsEnrolledByTwoFiles: the token's address leads nowhere, so that nothing
// can have crossed the line.
func TestADistrictIsEnrolledByTwoFiles(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	tok := f.parse(f.mint("511602", false))
	tok.Addresses = []string{"192.0.2.1:7301"}
	token := tok.String()

	var asked node.EnrolFile
	if err := post(t, f.district, "/node/enrol/request", node.EnrolRequest{Token: token, DryRun: true}, &asked); err != nil || !asked.DryRun || asked.File.Document.Body != nil {
		t.Errorf("tried to ask: %+v, %v", asked, err)
	}
	if err := post(t, f.district, "/node/enrol/request", node.EnrolRequest{Token: token}, &asked); err != nil || asked.File.Parent != cityRef || asked.Name != "四川省广安市" {
		t.Fatalf("asked: %+v, %v", asked, err)
	}
	request := carry(t, asked.File, enrol.RequestFile)
	if text, _ := asked.File.Encode(); bytes.Contains(text, []byte(token[len(token)-60:])) {
		t.Error("the file has the token")
	}

	var tried, answered, again node.ChildAnswerReply
	if err := post(t, f.city, "/node/child/answer", node.ChildAnswerRequest{File: request, DryRun: true}, &tried); err != nil || tried.Child != countyRef || tried.File.Document.Body != nil {
		t.Errorf("tried to answer: %+v, %v", tried, err)
	}
	if n := len(f.children().Children); n != 0 {
		t.Errorf("%d children after a dry run", n)
	}
	if err := post(t, f.city, "/node/child/answer", node.ChildAnswerRequest{File: request}, &answered); err != nil || answered.Child != countyRef || answered.Again || !answered.LocalLinks {
		t.Fatalf("answered: %+v, %v", answered, err)
	}
	f.ahead.Add(int64(node.DefaultChildTokenValid + time.Hour)) // The stick was lost for days.
	if err := post(t, f.city, "/node/child/answer", node.ChildAnswerRequest{File: request}, &again); err != nil || !again.Again || !bytes.Equal(again.File.Document.Body, answered.File.Document.Body) {
		t.Errorf("answered again: %+v, %v", again, err)
	}
	f.takesReply(carry(t, answered.File, enrol.ReplyFile))
	f.refusesFiles(request, answered.File)
}

func (f *family) takesReply(reply enrol.File) {
	t := f.t
	var out node.EnrolReply
	for _, dry := range []bool{true, false} {
		if err := post(t, f.district, "/node/enrol/reply", node.EnrolFromFile{File: reply, DryRun: dry}, &out); err != nil || out.Parent != cityRef || out.Again || out.DryRun != dry {
			t.Fatalf("took the reply (dry run: %v): %+v, %v", dry, out, err)
		}
	}
	if err := post(t, f.district, "/node/enrol/reply", node.EnrolFromFile{File: reply, Links: []string{"192.0.2.1:7303"}}, &out); err != nil || !out.Again || out.Links[0] != "192.0.2.1:7303" {
		t.Errorf("took the reply again: %+v, %v", out, err)
	}
	if err := post(t, f.district, "/node/enrol/reply", node.EnrolFromFile{File: reply}, &out); err != nil {
		t.Fatal(err)
	}
	f.awaitName("511602.511600.tongban.internal")
	admin := f.district.Admin(0)
	defer admin.Close()
	f.district.Await("the line to the city is up", func() bool {
		var s node.ParentStatus
		return admin.Get(t.Context(), "/node/parent", &s) == nil && s.Connected
	})
}

// refusesFiles tries what operators get wrong, and what somebody on the way could try.
func (f *family) refusesFiles(request, reply enrol.File) {
	t := f.t
	answer := func(change func(*enrol.File)) error {
		c := request
		change(&c)
		return post(t, f.city, "/node/child/answer", node.ChildAnswerRequest{File: c}, nil)
	}
	take := func(change func(*enrol.File)) error {
		c := reply
		change(&c)
		return post(t, f.district, "/node/enrol/reply", node.EnrolFromFile{File: c}, nil)
	}
	altered := bytes.Replace(reply.Document.Body, []byte("511602"), []byte("511603"), 1)
	refused(t, "an altered request", answer(func(c *enrol.File) { c.Document.Body = altered }), enrol.Forged)
	refused(t, "a reply given to the parent", answer(func(c *enrol.File) { *c = reply }), enrol.BadFile)
	refused(t, "a request to another division", answer(func(c *enrol.File) { c.Parent = countyRef }), enrol.BadFile)
	refused(t, "a token that nobody minted", answer(func(c *enrol.File) { c.Document.Token = "0000000000000000" }), enrol.TokenUnknown)
	refused(t, "an altered reply", take(func(c *enrol.File) { c.Document.Body = altered }), enrol.BadAnswer)
	refused(t, "a request given to the child", take(func(c *enrol.File) { *c = request }), enrol.BadFile)
	refused(t, "another division's reply", take(func(c *enrol.File) { c.Child = cityRef }), enrol.BadFile)
	refused(t, "a reply to nothing that was asked", take(func(c *enrol.File) { c.Document.Token = "0000000000000000" }), enrol.NotAsked)
}

// TestTheReplyIsKnownOnAnotherBox: who asked on one box may bring the reply to another.
func TestTheReplyIsKnownOnAnotherBox(t *testing.T) {
	t.Parallel()
	f := &family{t: t}
	clock := nodetest.Clock(f.now)
	f.city, f.district = nodetest.Division(t, 1, clock, nodetest.Place("511600", "")), nodetest.Division(t, 3, clock)
	var asked node.EnrolFile
	var answered node.ChildAnswerReply
	on := func(box int, path string, in, out any) error {
		admin := f.district.Admin(box)
		defer admin.Close()
		return admin.Post(t.Context(), path, in, out)
	}
	if err := on(0, "/node/enrol/request", node.EnrolRequest{Token: f.mint("511602", false).Token}, &asked); err != nil {
		t.Fatal(err)
	}
	if err := post(t, f.city, "/node/child/answer", node.ChildAnswerRequest{File: asked.File}, &answered); err != nil {
		t.Fatal(err)
	}
	var err error
	f.district.Await("every box takes the reply", func() bool {
		for box := range 3 {
			if err = on(box, "/node/enrol/reply", node.EnrolFromFile{File: answered.File}, nil); err != nil {
				return false
			}
		}
		return true
	})
	if err != nil {
		t.Error(err)
	}
}
