package node

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"tongban/federation"
	"tongban/replication"
	"tongban/service"
)

// TestWhatANeighbourAnswersCrossesTheNodePort: whether this node or another one of the
// division has the line must make no difference to who asked.
func TestWhatANeighbourAnswersCrossesTheNodePort(t *testing.T) {
	cross := func(out []byte, err error) ([]byte, error) {
		rw := httptest.NewRecorder()
		answerHop(rw, out, err)
		return readHop("n2", rw.Code, rw.Body.Bytes())
	}
	if out, err := cross([]byte("rows"), nil); err != nil || string(out) != "rows" {
		t.Errorf("an answer: %q, %v", out, err)
	}
	for _, c := range []struct{ sent, want error }{
		{fmt.Errorf("no line: %w", federation.ErrUnreachable), federation.ErrUnreachable},
		{replication.ErrNotLeader, errElsewhere},
		{replication.ErrOverloaded, errElsewhere},
		{fmt.Errorf("leaf: no answer: %w", context.DeadlineExceeded), context.DeadlineExceeded}, // Feeds then send less at once.
	} {
		if _, err := cross(nil, c.sent); !errors.Is(err, c.want) {
			t.Errorf("%v arrives as %v", c.sent, err)
		}
	}
	sent := &service.Error{Code: service.Invalid, Reason: "cases.wrong", Params: map[string]any{"max": "7"}, Fields: map[string]string{"name": "cases.empty"}}
	var got *service.Error
	if _, err := cross(nil, sent); !errors.As(err, &got) || got.Code != sent.Code || got.Reason != sent.Reason ||
		got.Params["max"] != "7" || got.Fields["name"] != "cases.empty" {
		t.Errorf("a refusal arrives as %+v", got)
	}
	unknown := fmt.Errorf("the line broke: %w", replication.ErrUnknownOutcome)
	if _, err := cross(nil, unknown); err == nil || errors.Is(err, federation.ErrUnreachable) || errors.Is(err, errElsewhere) {
		t.Errorf("an outcome that nobody knows arrives as %v, which is tried again", err)
	}
}

// TestAnotherNodeWaitsNoLongerThanWhoAsked: what a neighbour is told to do is of use only
// until then.
func TestAnotherNodeWaitsNoLongerThanWhoAsked(t *testing.T) {
	for header, want := range map[string]time.Duration{"1500": 1500 * time.Millisecond, "": maxWait, "x": maxWait, "-1": maxWait,
		"99999999999999999": maxWait} {
		r := httptest.NewRequest("POST", "/node/line", nil)
		r.Header.Set(waitHeader, header)
		ctx, cancel := waits(r)
		end, ok := ctx.Deadline()
		if left := time.Until(end); !ok || left > want || left < want-time.Second {
			t.Errorf("%q: it waits for %s, want %s", header, left, want)
		}
		cancel()
	}
}
