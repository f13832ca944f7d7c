package page

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"tongban/portal/portaltest"
)

// fake is a tree in memory.
type fake struct {
	mu     sync.Mutex
	state  State
	orders []Order
	err    error
}

func (f *fake) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.state
	s.Lines, s.Divisions = slices.Clone(s.Lines), slices.Clone(s.Divisions)
	return s
}

func (f *fake) Accounts() string { return "admin <secret>" }

// Do does what can be seen.
func (f *fake) Do(o Order) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders = append(f.orders, o)
	for i, l := range f.state.Lines {
		if l.ID == o.At && (o.Do == Cut || o.Do == Heal) {
			f.state.Lines[i].Cut, f.state.Lines[i].For = o.Do == Cut, 0
		}
	}
	return f.err
}

func (f *fake) done() []Order {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.orders)
}

func box(code, name string, runs bool) Box {
	return Box{ID: code + "/" + name, Name: name, Web: "http://localhost:1/", PID: 7, Runs: runs}
}

// sample is a tree with a cut line, a dead box and a silent division.
func sample() State {
	division := func(code, parent, level, name, english string, n int, boxes ...Box) Division {
		return Division{Code: code, Parent: parent, Level: level, Name: name, Full: "全称" + name, English: english, Boxes: boxes,
			Figures: &Figures{Applied: n + 10, Decided: n, Age: 2}}
	}
	s := State{Divisions: []Division{
		division("000000", "", "national", "中国", "China", 200, box("000000", "n1", true)),
		division("510000", "000000", "province", "四川省", "Sichuan", 200, box("510000", "n1", true)),
		division("511600", "510000", "city", "广安市", "Guang'an", 400, box("511600", "n1", true)),
		division("511602", "511600", "county", "广安区", "Guang'an District", 400, box("511602", "n1", true), box("511602", "n2", false), box("511602", "n3", true)),
		division("330000", "000000", "province", "浙江省", "Zhejiang", 0, box("330000", "n1", true)),
		division("330100", "330000", "city", "杭州市", "Hangzhou", 0, box("330100", "n1", false)),
		division("330106", "330100", "county", "西湖区", "Xihu", 0, box("330106", "n1", true)),
	}, Cases: Cases{Acknowledged: 400, Found: 400}}
	for _, d := range s.Divisions[1:] {
		s.Lines = append(s.Lines, Line{ID: d.Code, Parent: d.Parent, Cut: d.Code == "511600", For: 83, Up: 123_456, Down: 2_345_678})
	}
	s.Divisions[0].Figures.Age = 83
	s.Divisions[0].Figures.Children = []Child{{Code: "510000", Decided: 200, Age: 83, Known: true}, {Code: "330000", Age: 1, Known: true}}
	s.Divisions[1].Figures.Age = 83
	s.Divisions[1].Figures.Children = []Child{{Code: "511600", Decided: 200, Age: 83, Silent: true, Known: true}}
	s.Divisions[5].Mute = 12
	s.Lodged = []Lodged{{ID: "L2", State: "waiting", Reason: "unreachable", Where: "全称广安市", For: 31}, {ID: "L1", State: "delivered", Number: "511602-0003-260001-7", For: 0.8}}
	s.Jobs = []Job{{Do: Load, Done: 37, Total: 50, For: 4}}
	return s
}

func serve(t *testing.T, f *fake) (*Page, *httptest.Server) {
	t.Helper()
	p, err := New(f)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return p, s
}

// scenario is a request to the page and what it must, and must not, be answered with.
type scenario struct {
	name, method, path string
	form               url.Values
	header             map[string]string
	host               string
	err                error // Of the tree.
	status             int
	has, lacks         string
}

// scenarios are requests to a page with this path and key.
func scenarios(path, key string) []scenario {
	good := url.Values{"do": {Cut}, "at": {"511600"}}
	return []scenario{
		{name: "the page", path: path, status: 200, has: "四级一张网", lacks: "admin"},
		{name: "the page in English", path: path + "?lang=en", status: 200, has: `lang="en"`, lacks: "四级一张网"},
		{name: "the page in a browser's language", path: path, header: map[string]string{"Accept-Language": "en-GB,zh"}, status: 200, has: "one tree"},
		{name: "the accounts, escaped", path: path + "accounts", status: 200, has: "admin &lt;secret&gt;"},
		{name: "the state", path: path + "state", status: 200, has: `"code":"511602"`},
		{name: "the script", path: path + "tree.js", status: 200, has: "use strict"},
		{name: "no key", path: "/", status: 404, lacks: "511602"},
		{name: "another key", path: "/aaaaaaaaaaaaaaaa/state", status: 404, lacks: "511602"},
		{name: "a file that is no file", path: path + "zh.json", status: 404},
		{name: "another machine's name", path: path, host: "evil.example:80", status: 421, lacks: "511602"},
		{name: "another machine's address", path: path, host: "192.0.2.1", status: 421},
		{name: "this machine without a port", path: path, host: "localhost", status: 200},
		{name: "an order", method: "POST", path: path + "do", form: good, header: map[string]string{tokenHeader: key}, status: 202, has: `"cut":true`},
		{name: "an order without the token", method: "POST", path: path + "do", form: good, status: 403, has: "no_key"},
		{name: "an order of another site", method: "POST", path: path + "do", form: good,
			header: map[string]string{tokenHeader: key, "Sec-Fetch-Site": "cross-site"}, status: 403},
		{name: "an order of another origin", method: "POST", path: path + "do", form: good,
			header: map[string]string{tokenHeader: key, "Origin": "http://evil.example"}, status: 403},
		{name: "an order by GET", path: path + "do?do=cut&at=511600", header: map[string]string{tokenHeader: key}, status: 405},
		{name: "nothing that can be done", method: "POST", path: path + "do", form: url.Values{"do": {"rm"}}, header: map[string]string{tokenHeader: key}, status: 404, has: "unknown"},
		{name: "no such line", method: "POST", path: path + "do", form: good, err: ErrUnknown, header: map[string]string{tokenHeader: key}, status: 404},
		{name: "being done", method: "POST", path: path + "do", form: good, err: ErrBusy, header: map[string]string{tokenHeader: key}, status: 409, has: "busy"},
		{name: "an order that is too long", method: "POST", path: path + "do", form: url.Values{"do": {strings.Repeat("x", maxOrder)}}, header: map[string]string{tokenHeader: key}, status: 400},
	}
}

func TestWhoMaySeeAndDoWhat(t *testing.T) {
	f := &fake{state: sample()}
	p, s := serve(t, f)
	for _, c := range scenarios(p.Path(), p.key) {
		t.Run(c.name, func(t *testing.T) {
			f.mu.Lock()
			f.err, f.orders = c.err, nil
			f.mu.Unlock()
			r, err := http.NewRequest(c.method, s.URL+c.path, strings.NewReader(c.form.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			if c.form != nil {
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			for k, v := range c.header {
				r.Header.Set(k, v)
			}
			if c.host != "" {
				r.Host = c.host
			}
			answer, err := s.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != c.status || !strings.Contains(string(body), c.has) || c.lacks != "" && strings.Contains(string(body), c.lacks) {
				t.Errorf("%d, wanted %d with %q and without %q: %.400s", answer.StatusCode, c.status, c.has, c.lacks, body)
			}
			if answer.Header.Get("Content-Security-Policy") != policy || answer.Header.Get("Referrer-Policy") != "no-referrer" {
				t.Errorf("headers: %v", answer.Header)
			}
			if begun := len(f.done()) > 0; begun != (c.status == 202 || c.err != nil) {
				t.Errorf("the tree got %v", f.done())
			}
		})
	}
}

func TestBothLanguagesSayTheSame(t *testing.T) {
	p, _ := serve(t, &fake{})
	zh, en := p.texts["zh"], p.texts["en"]
	for name, text := range zh {
		if en[name] == "" || text == "" {
			t.Errorf("%q: %q, %q", name, text, en[name])
		}
	}
	if a, b := slices.Sorted(maps.Keys(zh)), slices.Sorted(maps.Keys(en)); !slices.Equal(a, b) {
		t.Errorf("%v\n%v", a, b)
	}
	var state map[string]any
	data, err := json.Marshal(sample())
	if err != nil || json.Unmarshal(data, &state) != nil || len(state) != 5 {
		t.Errorf("the state is %s", data)
	}
}

// TestThePageShowsAndCuts opens the page in a browser, wide and narrow, in both languages.
func TestThePageShowsAndCuts(t *testing.T) {
	portaltest.Require(t)
	f := &fake{state: sample()}
	p, s := serve(t, f)
	for _, c := range []struct {
		name, lang string
		options    []portaltest.Option
		has        []string
	}{
		{"demo-1280", "zh", nil, []string{"四川省—广安市已剪断", "旧数：广安市或其下级失联", "83 秒前", "37 / 50", "等待送达", "线路不通，会自动再送（广安市）", "12 秒没有应答"}},
		{"demo-390", "en", []portaltest.Option{portaltest.Phone()}, []string{"The line Sichuan – Guang'an is cut", "Old figure: Guang'an, or a division below, is silent", "n2 of Guang'an District is dead", "no line at the last try; it is sent again by itself (Guang'an)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := portaltest.Browser(t, c.options...)
			b.Open(s.URL + p.Path() + "?lang=" + c.lang)
			b.Do("wait for the tree", chromedp.WaitVisible(chromedp.CSS(".card.mute")))
			text := b.Text("main")
			for _, wanted := range c.has {
				if !strings.Contains(text, wanted) {
					t.Errorf("the page lacks %q:\n%s", wanted, text)
				}
			}
			b.Screenshot(c.name)
			if out := b.SticksOut(); out != "" {
				t.Errorf("too wide: %s", out)
			}
			b.MustBeClean(c.name)
			b.Do("heal the line", chromedp.Click(chromedp.CSS(".line.cut button")))
			b.Do("wait until it is healed", chromedp.WaitNotPresent(chromedp.CSS(".line.cut")))
			b.Do("cut another", chromedp.Click(chromedp.CSS(".line button")))
			b.Do("wait until it is cut", chromedp.WaitVisible(chromedp.CSS(".line.cut")))
			if got := f.done(); !slices.Contains(got, Order{Heal, "511600"}) || !slices.Contains(got, Order{Cut, "510000"}) {
				t.Errorf("the tree got %v", got)
			}
			f.mu.Lock()
			f.state, f.orders = sample(), nil
			f.mu.Unlock()
		})
	}
}
