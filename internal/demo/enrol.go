package demo

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"tongban/node"
	"tongban/node/enrol"
)

// enrol makes every division with a parent its child, from the top down, with the verbs
// that operators use: a token of the parent, and an enrolment at the child. Both what is
// enrolled and what follows go through the line between them.
func (t *Tree) enrol(ctx context.Context) error {
	start := time.Now()
	enrolled := map[*District]bool{}
	for _, d := range t.Divisions {
		enrolled[d] = t.LineOf(string(d.Division.Code)) == nil
	}
	for len(enrolled) > 0 {
		var now []*Line
		for _, l := range t.Lines {
			if !enrolled[l.Child] && enrolled[l.Parent] {
				now = append(now, l)
			}
		}
		if len(now) == 0 {
			t.say.Step("%d divisions are enrolled with their parents, each over its line (%s)", len(t.Lines), since(start))
			return nil
		}
		g, enrolling := errgroup.WithContext(ctx)
		for _, l := range now {
			g.Go(func() error {
				if err := l.enrol(enrolling); err != nil {
					return fmt.Errorf("enrol %s with %s: %w", l.Child.Division.Code, l.Parent.Division.Code, err)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		for _, l := range now {
			enrolled[l.Child] = true
		}
	}
	return nil
}

// enrol enrols the line's child with its parent.
func (l *Line) enrol(ctx context.Context) error {
	ref := l.Child.Division.Ref
	var minted node.ChildTokenReply
	if err := l.Parent.insistAsOperator("/node/child/token", func() any {
		return node.ChildTokenRequest{Code: string(ref.Code), Level: ref.Level.String(), Valid: "1h"}
	}, &minted)(ctx); err != nil {
		return fmt.Errorf("mint a token: %w", err)
	}
	token, err := enrol.ParseToken(minted.Token)
	if err != nil {
		return err
	}
	ports := l.Addresses()
	token.Addresses = ports[l.nodes:] // The parent's node ports, as they are reached from here.
	return l.Child.insistAsOperator("/node/enrol", func() any {
		return node.EnrolRequest{Token: token.String(), Links: ports[:l.nodes]}
	}, nil)(ctx)
}

// bureau is the department of a division that has no items of its own to show.
type bureau struct{ slug, name, english string }

// bureaus are departments of the divisions around the district, by code.
func bureaus() map[string]bureau {
	return map[string]bureau{
		nationCode: {"zhengwufuwu", "国家政务服务办公室", "office of government services"},
		"510000":   {"shujuju", "四川省数据局", "data bureau of Sichuan"},
		"511600":   {"zhengwuzhongxin", "广安市政务服务中心", "service centre of Guang'an"},
		"330000":   {"shujuju", "浙江省数据局", "data bureau of Zhejiang"},
		"330100":   {"zhengwuzhongxin", "杭州市政务服务中心", "service centre of Hangzhou"},
		windowCode: {"zonghechuangkou", "西湖区政务服务中心综合窗口", "general window of Xihu District"},
	}
}

// furnish gives each division around the district its department.
func (t *Tree) furnish(ctx context.Context) error {
	g, making := errgroup.WithContext(ctx)
	for _, d := range t.Divisions {
		b, ok := bureaus()[string(d.Division.Code)]
		if !ok {
			continue
		}
		g.Go(func() error {
			in := map[string]any{"slug": b.slug, "name": b.name, "codes": []string{}}
			if err := d.insistAsOperator("/tenants", func() any { return in }, nil)(making); err != nil {
				return fmt.Errorf("create the department %s: %w", b.name, err)
			}
			return d.Settle(making)
		})
	}
	return g.Wait()
}
