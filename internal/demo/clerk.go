package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"tongban/service"
	"tongban/service/cases"
)

// engage makes the account of an officer of tenants at the admin socket, and activates it.
func (d *District) engage(ctx context.Context, p *person, tenants ...string) error {
	var grants []service.Grant
	for _, slug := range tenants {
		grants = append(grants, service.Grant{Tenant: slug, Role: service.RoleOfficer})
	}
	name, _, _ := strings.Cut(p.zh, "（")
	var made struct {
		Code string `json:"code"`
	}
	if err := d.insistAsOperator("/accounts", func() any {
		return map[string]any{"login": p.login, "name": name, "grants": grants}
	}, &made)(ctx); err != nil {
		return fmt.Errorf("make the account %s: %w", p.login, err)
	}
	return d.enrol(ctx, p, "/activate", url.Values{"login": {p.login}, "code": {made.Code}, "password": {p.password}, "again": {p.password}})
}

// decide takes a case from its submission to the decision, as an officer does: an instant
// item's in two steps, any other's in three.
func (d *District) decide(ctx context.Context, officer *person, r Receipt) error {
	steps := []cases.Action{cases.Accept, cases.Begin, cases.Grant}
	if r.Instant {
		steps = []cases.Action{cases.Accept, cases.Grant}
	}
	version := 1
	for _, step := range steps {
		path := "/t/" + r.Tenant + "/cases/" + r.Number + "/" + string(step)
		answer, err := d.http.insist(ctx, d.survivors, version, path, url.Values{"version": {strconv.Itoa(version)}, "text": {"准予。"}}, officer.session)
		if err != nil {
			return fmt.Errorf("%s case %s: %w", step, r.Number, err)
		}
		var moved cases.Moved
		if err := json.Unmarshal(answer.body, &moved); err != nil || moved.Version <= version {
			return fmt.Errorf("%s case %s: the answer is %.200q", step, r.Number, answer.body)
		}
		version = moved.Version
	}
	return nil
}

// decideAll decides the cases of the receipts, several at once; done is called after each.
func (d *District) decideAll(ctx context.Context, officer *person, receipts []Receipt, done func()) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(clients)
	for _, r := range receipts {
		g.Go(func() error {
			err := d.decide(ctx, officer, r)
			if err == nil {
				done()
			}
			return err
		})
	}
	return g.Wait()
}
