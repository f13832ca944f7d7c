package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"

	"tongban/service"
)

// maxReports bounds what waits to be written; more is counted and logged, not kept.
const maxReports = 1024

// report is a call that the program makes on its own behalf at the division's leader.
type report struct {
	path string
	body map[string]string
}

// report queues r; a full queue drops it, loudly.
func (w *Web) report(r report) {
	select {
	case w.reports <- r:
	default:
		w.log.Error("too many reports wait; one is dropped", "path", r.path)
	}
}

// reportRefusal has refused access of somebody signed in recorded in the audit. Anonymous
// callers are not recorded here: anybody could fill the audit with them.
func (w *Web) reportRefusal(c *call, who service.Principal, err error) {
	if who.Kind == service.Anonymous || w.o.AuditPath == "" {
		return
	}
	if _, ok := w.refused.take(who.Account, refusalsPerMinute); !ok {
		w.log.Warn("an account is refused so often that the audit does not say each time", "path", c.http.URL.Path)
		return
	}
	var refusal *service.Error
	errors.As(err, &refusal)
	reason := refusal.Reason
	if errors.Is(err, service.ErrNotFound) {
		reason = "tenant_mismatch"
	}
	w.report(report{path: w.o.AuditPath, body: map[string]string{
		"what": c.route.FullPattern(), "subject": c.http.URL.Path, "account": who.Account,
		"kind": who.Kind.String(), "reason": reason}})
}

// Run writes reports until ctx ends.
func (w *Web) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-w.reports:
			if err := w.send(ctx, r); err != nil && ctx.Err() == nil {
				w.log.Error("write a report", "path", r.path, "err", err)
			}
		}
	}
}

func (w *Web) send(ctx context.Context, rep report) error {
	body, err := json.Marshal(rep.body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, rep.path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.RemoteAddr = string(w.o.Self)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	a := newAnswer()
	w.route(systemDoor, w.byPath["POST "+rep.path]).ServeHTTP(a, r)
	if a.status >= http.StatusBadRequest {
		return fmt.Errorf("status %d: %s", a.status, a.body.String())
	}
	return nil
}

// panicError is a panic as an error, with its stack for the log.
func panicError(p any) error { return fmt.Errorf("panic: %v\n%s", p, debug.Stack()) }

// Handler errors that are no refusals reach the log once, here.
func (w *Web) logInternal(ref string, r *http.Request, refusal *service.Error) {
	if refusal.Code == service.Internal || refusal.Code == service.Unavailable && refusal.Err != nil {
		w.log.Error("answer a request", "ref", ref, "method", r.Method, "path", r.URL.Path,
			"reason", refusal.Reason, "err", refusal.Err)
	}
}
