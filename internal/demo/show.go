package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tongban/internal/demo/page"
	"tongban/internal/process"
	"tongban/service/catalog"
)

// watchEvery is how often a shown tree looks after its processes.
const watchEvery = 500 * time.Millisecond

// Show starts the tree for people to try, writes to out where its page is and how to get
// in, and returns when ctx ends, with everything stopped.
func Show(ctx context.Context, out io.Writer, o Options) (err error) {
	c, err := ReadCatalog(o.Items)
	if err != nil {
		return err
	}
	if len(c.Departments) < 2 {
		return fmt.Errorf("the items are of %d department; the demonstration needs two", len(c.Departments))
	}
	if len(o.Places) == 0 {
		o.Places = wholeTree()
	}
	t, err := StartTree(ctx, Setting{Binary: o.Binary, Keep: o.Keep, Progress: o.Progress}, o.Places)
	if err != nil {
		return stoppedOnPurpose(ctx, err)
	}
	defer func() {
		o.Progress.Step("stopping…")
		err = errors.Join(stoppedOnPurpose(ctx, err), t.Close(o.Keep))
		if o.Keep {
			o.Progress.Step("stopped; everything is still in %s", t.Dir)
		} else {
			o.Progress.Step("stopped; the folder %s is removed", t.Dir)
		}
	}()
	return t.show(ctx, out, o, c)
}

// show furnishes the tree, and serves its page until ctx ends.
func (t *Tree) show(ctx context.Context, out io.Writer, o Options, c Catalog) error {
	d := t.At(shownCode)
	if err := t.furnish(ctx); err != nil {
		return err
	}
	if err := t.importBasic(ctx, c); err != nil {
		return err
	}
	people, tenant, err := d.furnish(ctx, c)
	if err != nil {
		return err
	}
	offers, err := d.Offers(ctx, c)
	if err != nil {
		return err
	}
	clerk := newPerson("广安区综合窗口工作人员（办件，所有部门）", "officer of all departments of the district; the page decides as this one", "clerk")
	if err := d.engage(ctx, clerk, slices.Collect(maps.Keys(offers))...); err != nil {
		return err
	}
	window, err := t.openWindow(ctx, d, Spread(offers)[0])
	if err != nil {
		return err
	}
	text := &strings.Builder{}
	if err := t.welcome(ctx, text, append(people, clerk), window, tenant); err != nil {
		return err
	}
	l := newLive(t, clerk, window, Spread(offers), text.String())
	return t.serve(ctx, out, o, l)
}

// serve serves the page on a free loopback port, writes where it is, opens it where there
// is a display, and returns when ctx ends.
func (t *Tree) serve(ctx context.Context, out io.Writer, o Options, l *live) error {
	p, err := page.New(l)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("open a port for the page: %w", err)
	}
	server := &http.Server{Handler: p, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the page: %w", err)
		}
		return nil
	})
	g.Go(func() error { <-ctx.Done(); return server.Close() })
	g.Go(func() error { return l.Run(ctx) })
	g.Go(func() error { t.watch(ctx); return nil })
	address := "http://localhost:" + portOf(listener.Addr().String()) + p.Path()
	w := &lines{out: out}
	w.say("%s", l.accounts)
	w.say("  四级一张网，可剪线、可停机 · the live tree, with lines to cut and boxes to kill:")
	w.say("")
	w.say("    %s", address)
	w.say("    %s", opened(o, address))
	w.say("")
	w.say("  Ctrl-C 停止并删除 · stops it and removes %s", t.Dir)
	w.say("")
	if w.err != nil {
		_ = server.Close()
		return w.err
	}
	return g.Wait()
}

// opened opens the address in the browser of whoever sits here, and says what it did.
func opened(o Options, address string) string {
	if !o.Open {
		return "用浏览器打开它 · open it in a browser"
	}
	program, err := exec.LookPath("xdg-open")
	if err != nil || os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return "本机没有图形界面，请用浏览器打开它 · there is no display here: open it in a browser"
	}
	if err := exec.Command(program, address).Start(); err != nil { // It belongs to the desktop from here on.
		return "没能打开浏览器，请自行打开 · the browser did not start (" + err.Error() + "): open it yourself"
	}
	return "已在浏览器中打开 · opened in your browser"
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

// watch reports processes that die, each once, until ctx ends. The others go on: that is
// what they are for.
func (t *Tree) watch(ctx context.Context) {
	told := map[*process.Process]bool{}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, d := range t.Divisions {
			for _, p := range d.processes() {
				if err := p.Death(); err != nil && !told[p] {
					told[p] = true
					t.say.Step("%v", err)
				}
			}
		}
	}
}

// welcome writes where the divisions are, who can sign in, and what to try.
func (t *Tree) welcome(ctx context.Context, out io.Writer, people []*person, window *window, tenant [2]string) error {
	d := t.At(shownCode)
	victim, led, err := d.busiest(ctx)
	if err != nil {
		return err
	}
	w := &lines{out: out}
	w.say("")
	w.say("  %s (%s) 在本机运行 · runs on this machine, as %d nodes:", d.Division.FullName(), d.Division.Code, len(d.Nodes))
	w.say("")
	for _, n := range d.Nodes {
		w.say("    %s   %s   (pid %d)", n.Name, n.URL, d.PID(n))
	}
	w.say("")
	w.say("  上级与外省 · the levels above it, and another province:")
	w.say("")
	for _, other := range t.Divisions {
		if other != d {
			w.say("    %s %s   %s   (pid %d)", other.Division.Code, other.Nodes[0].Name, other.Nodes[0].URL, other.PID(other.Nodes[0]))
		}
	}
	w.say("")
	w.say("  账号只显示这一次，依次为：登录名、密码、验证器密钥 · accounts, shown only now: login, password, secret of the authenticator")
	w.say("")
	account := func(p *person, where string) {
		w.say("    %-9s %s   %s", p.login, p.password, p.secret)
		w.say("              %s · %s%s", p.zh, p.en, where)
	}
	for _, p := range people {
		account(p, "")
	}
	account(window.officer, " · "+window.d.Nodes[0].URL)
	w.say("")
	for i, s := range d.tips(victim, len(led), tenant) {
		w.say("  %d. %s", i+1, s[0])
		w.say("     %s", s[1])
	}
	return w.err
}

// tips are what to try, in Chinese and in English. victim leads so many databases.
func (d *District) tips(victim *Node, led int, tenant [2]string) [][2]string {
	first, other := d.Nodes[0], d.Nodes[0]
	for _, n := range d.Nodes {
		if n != victim {
			other = n
		}
	}
	return [][2]string{
		{"打开 " + first.URL + "，搜索“社保”", "open it and search for 社保 (social security)"},
		{"选" + tenant[1] + "的一个事项，点“申请”，记下办件编号和查询码", "choose an item of " + tenant[1] + ", apply, and note receipt number and secret"},
		{"在另一台节点查办件：" + d.Nodes[1].URL + "/track", "track the case at another node"},
		{"以 officer 登录：" + first.URL + "/sign-in，验证码由 " + d.command() + " totp 密钥 算出；officer2 看不到这个办件",
			"sign in as officer (" + d.command() + " totp SECRET prints the code), accept the case; officer2 cannot see it"},
		{fmt.Sprintf("kill -9 %d，再打开 %s，照常办理", d.PID(victim), other.URL), fmt.Sprintf("kill node %s, which leads %d databases; go on at another node", victim.Name, led)},
	}
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
