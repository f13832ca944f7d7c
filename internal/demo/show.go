package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"tongban/service/catalog"
)

// watchEvery is how often a shown district looks after its processes.
const watchEvery = 500 * time.Millisecond

// Show starts a district for people to try, writes to out how to get in, and returns when
// ctx ends, with everything stopped.
func Show(ctx context.Context, out io.Writer, o Options) (err error) {
	c, err := ReadCatalog(o.Items)
	if err != nil {
		return err
	}
	if len(c.Departments) < 2 {
		return fmt.Errorf("the items are of %d department; the demonstration needs two", len(c.Departments))
	}
	d, err := Start(ctx, Setting{Binary: o.Binary, Keep: o.Keep, Progress: o.Progress})
	if err != nil {
		return stoppedOnPurpose(ctx, err)
	}
	defer func() {
		o.Progress.Step("stopping…")
		err = errors.Join(stoppedOnPurpose(ctx, err), d.Close(o.Keep))
		if o.Keep {
			o.Progress.Step("stopped; everything is still in %s", d.Dir)
		} else {
			o.Progress.Step("stopped; the folder %s is removed", d.Dir)
		}
	}()
	people, tenant, err := d.furnish(ctx, c)
	if err != nil {
		return err
	}
	if err := d.welcome(ctx, out, people, tenant); err != nil {
		return err
	}
	d.watch(ctx)
	return nil
}

// stoppedOnPurpose is nil for an error that only says that ctx ended: Ctrl-C during the
// start is no failure.
func stoppedOnPurpose(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// furnish fills the district and makes the people. It returns them and the department in
// which the first officer works.
func (d *District) furnish(ctx context.Context, c Catalog) ([]*person, [2]string, error) {
	if err := d.CreateTenants(ctx, c); err != nil {
		return nil, [2]string{}, err
	}
	d.say.Step("%d departments are tenants", len(c.Departments))
	done, err := d.Import(ctx, c)
	if err != nil {
		return nil, [2]string{}, err
	}
	d.say.Step("%d rows of %s: %d items published, %d rows in quarantine", c.Rows, c.File, done.Published, done.Quarantined)
	if err := d.awaitPublished(ctx, done.Published); err != nil {
		return nil, [2]string{}, err
	}
	first, second, err := d.departmentsToShow(ctx, c)
	if err != nil {
		return nil, first, err
	}
	people, err := d.makePeople(ctx, first, second)
	return people, first, err
}

// departmentsToShow are two departments by slug and name: the one whose item is found
// first for what most people ask, social security, and the largest of the others.
func (d *District) departmentsToShow(ctx context.Context, c Catalog) (first, second [2]string, err error) {
	var page catalog.SearchPage
	if err := d.http.get(ctx, d.Nodes[0].URL, "/search?q="+url.QueryEscape("社保"), nil, &page); err != nil {
		return first, second, fmt.Errorf("search for social security: %w", err)
	}
	wanted := c.Departments[0].Slug
	if len(page.Hits) > 0 {
		wanted = page.Hits[0].Tenant
	}
	most := -1
	for _, one := range c.Departments {
		switch {
		case one.Slug == wanted:
			first = [2]string{one.Slug, one.Name}
		case len(one.Rows) > most:
			second, most = [2]string{one.Slug, one.Name}, len(one.Rows)
		}
	}
	return first, second, nil
}

// watch reports processes that die, each once, until ctx ends. The district goes on with
// the others: that is what it is for.
func (d *District) watch(ctx context.Context) {
	told := map[*process]bool{}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, p := range d.processes() {
			if err := p.death(); err != nil && !told[p] {
				told[p] = true
				d.say.Step("%v", err)
			}
		}
	}
}

// welcome writes where the district is, who can sign in, and what to try.
func (d *District) welcome(ctx context.Context, out io.Writer, people []*person, tenant [2]string) error {
	victim, led, err := d.busiest(ctx)
	if err != nil {
		return err
	}
	w := &lines{out: out}
	w.say("")
	w.say("  %s (%s) 在本机运行 · runs on this machine, as three nodes:", divisionName, divisionCode)
	w.say("")
	for _, n := range d.Nodes {
		w.say("    %s   %s   (pid %d)", n.Name, n.URL, d.PID(n))
	}
	w.say("")
	w.say("  账号只显示这一次，依次为：登录名、密码、验证器密钥 · accounts, shown only now: login, password, secret of the authenticator")
	w.say("")
	for _, p := range people {
		w.say("    %-9s %s   %s", p.login, p.password, p.secret)
		w.say("              %s · %s", p.zh, p.en)
	}
	w.say("")
	first, other := d.Nodes[0], d.Nodes[0]
	for _, n := range d.Nodes {
		if n != victim {
			other = n
		}
	}
	for i, s := range []struct{ zh, en string }{
		{"打开 " + first.URL + "，搜索“社保”", "open it and search for 社保 (social security)"},
		{"选" + tenant[1] + "的一个事项，点“申请”，记下办件编号和查询码", "choose an item of " + tenant[1] + ", apply, and note receipt number and secret"},
		{"在另一台节点查办件：" + d.Nodes[1].URL + "/track", "track the case at another node"},
		{"以 officer 登录：" + first.URL + "/sign-in，验证码由 " + d.command() + " totp 密钥 算出；officer2 看不到这个办件",
			"sign in as officer (" + d.command() + " totp SECRET prints the code), accept the case; officer2 cannot see it"},
		{fmt.Sprintf("kill -9 %d，再打开 %s，照常办理", d.PID(victim), other.URL), fmt.Sprintf("kill node %s, which leads %d databases; go on at another node", victim.Name, len(led))},
	} {
		w.say("  %d. %s", i+1, s.zh)
		w.say("     %s", s.en)
	}
	w.say("")
	w.say("  Ctrl-C 停止并删除 · stops it and removes %s", d.Dir)
	w.say("")
	return w.err
}

// command is how the program is called from here.
func (d *District) command() string {
	if dir, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(dir, d.binary); err == nil && filepath.IsLocal(rel) {
			return rel
		}
	}
	return d.binary
}

// lines writes lines until one fails.
type lines struct {
	out io.Writer
	err error
}

func (l *lines) say(format string, args ...any) {
	if l.err == nil {
		_, l.err = fmt.Fprintf(l.out, format+"\n", args...)
	}
}
