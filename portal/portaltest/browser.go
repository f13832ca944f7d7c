package portaltest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Limit bounds one browser test: a hung page fails it instead of the whole run.
const Limit = 5 * time.Minute

// Patience bounds one action: an element that never comes fails the test soon.
const Patience = 45 * time.Second

// names of chromium's program, best first.
var names = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

// Option changes how [Browser] starts.
type Option func(*settings)

type settings struct {
	width, height int
	phone         bool
	scripts       bool
	dark          bool
	language      string
}

// Phone gives a window of 390 × 844 with touch, as a common phone has.
func Phone() Option { return func(s *settings) { s.width, s.height, s.phone = 390, 844, true } }

// A4 gives a window as wide as the paper, 210 mm at 96 pixels an inch.
func A4() Option { return func(s *settings) { s.width, s.height = 794, 1123 } }

// JSOff turns scripts off.
func JSOff() Option { return func(s *settings) { s.scripts = false } }

// Dark is a reader whose system prefers a dark scheme.
func Dark() Option { return func(s *settings) { s.dark = true } }

// Language sets Accept-Language ("zh-CN" unless told).
func Language(tag string) Option { return func(s *settings) { s.language = tag } }

// Page is one tab.
type Page struct {
	tb  testing.TB
	ctx context.Context
	settings

	mu      sync.Mutex
	console []string // Errors of scripts and refusals of the policy.
	foreign []string // Requests to hosts other than the first one.
	host    string
}

// Browser starts a browser of its own with one empty tab, 1280 × 900 unless told, and
// stops it when the test ends. Without chromium the test is skipped.
func Browser(tb testing.TB, options ...Option) *Page {
	tb.Helper()
	program := find(tb)
	s := settings{width: 1280, height: 900, scripts: true, language: "zh-CN"}
	for _, o := range options {
		o(&s)
	}
	flags := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("lang", s.language),
		chromedp.UserDataDir(tb.TempDir()),
		chromedp.WindowSize(s.width, s.height))
	root, cancelRoot := context.WithTimeout(context.Background(), Limit)
	alloc, cancelAlloc := chromedp.NewExecAllocator(root, flags...)
	ctx, cancelTab := chromedp.NewContext(alloc)
	tb.Cleanup(func() {
		// Closes the browser and waits until it is gone, so that its folder can go too.
		if err := chromedp.Cancel(ctx); err != nil {
			tb.Logf("close the browser: %v", err)
		}
		cancelTab()
		cancelAlloc()
		cancelRoot()
	})
	p := &Page{tb: tb, ctx: ctx, settings: s}
	if err := chromedp.Listen(ctx, p.listen); err != nil {
		tb.Fatalf("start %s: %v", program, err)
	}
	p.setUp(s)
	return p
}

// Require skips a test that needs a browser where there is none: before anything that
// takes long.
func Require(tb testing.TB) { tb.Helper(); find(tb) }

func find(tb testing.TB) string {
	tb.Helper()
	for _, name := range names {
		if program, err := exec.LookPath(name); err == nil {
			return program
		}
	}
	tb.Skip("not run: chromium is missing; apt-get install -y chromium fonts-noto-cjk")
	return ""
}

// Tab opens one more empty tab of the same browser, with the same cookies and settings.
func (p *Page) Tab() *Page {
	p.tb.Helper()
	ctx, cancel := chromedp.NewContext(p.ctx)
	p.tb.Cleanup(cancel)
	tab := &Page{tb: p.tb, ctx: ctx, settings: p.settings}
	if err := chromedp.Listen(ctx, tab.listen); err != nil {
		p.tb.Fatalf("open another tab: %v", err)
	}
	tab.setUp(tab.settings)
	return tab
}

func (p *Page) setUp(s settings) {
	p.tb.Helper()
	call(p, network.Enable, network.EnableParams{})
	call(p, log.Enable, cdp.Empty{})
	call(p, runtime.Enable, cdp.Empty{})
	call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: int64(s.width), Height: int64(s.height), DeviceScaleFactor: 1, Mobile: s.phone})
	call(p, emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: s.phone})
	p.setMedia("screen")
	call(p, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{
		Headers: network.Headers{"Accept-Language": s.language}})
	p.setScripts(s.scripts)
}

func (p *Page) setMedia(media string) {
	p.tb.Helper()
	scheme := "light"
	if p.dark {
		scheme = "dark"
	}
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: media,
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

// OnPaper runs look while the page is laid out as for a printer.
func (p *Page) OnPaper(look func()) {
	p.tb.Helper()
	p.setMedia("print")
	defer p.setMedia("screen")
	look()
}

func (p *Page) setScripts(on bool) {
	p.tb.Helper()
	call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
}

func call[P, R any](p *Page, command cdp.Command[P, R], params P) R {
	p.tb.Helper()
	out, err := chromedp.Call(p.ctx, command, params)
	if err != nil {
		p.tb.Fatalf("%s: %v", command.Method, err)
	}
	return out
}

// Do runs actions; what says in words what they are for.
func (p *Page) Do(what string, actions ...chromedp.Action[chromedp.Void]) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.tb.Fatalf("%s: %v", what, err)
	}
}

// Open goes to the address, waits until it is loaded and returns its HTTP status.
func (p *Page) Open(address string) int {
	p.tb.Helper()
	return p.load("open "+address, chromedp.Navigate(address))
}

// Click clicks the element of the CSS selector, waits until the next page is loaded and
// returns its HTTP status.
func (p *Page) Click(selector string) int {
	p.tb.Helper()
	return p.load("click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

func (p *Page) load(what string, action chromedp.Action[chromedp.Void]) int {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	answer, err := chromedp.RunResponse(ctx, action)
	if err != nil {
		p.tb.Fatalf("%s: %v", what, err)
	}
	return int(answer.Status)
}

// Fill sets the value of the field of the CSS selector: text, a date, an option's value.
func (p *Page) Fill(selector, text string) {
	p.tb.Helper()
	action := chromedp.SetValue(chromedp.CSS(selector), text)
	if text == "" { // SetValue takes this for a failure.
		action = chromedp.Clear(chromedp.CSS(selector))
	}
	p.Do("fill "+selector, action)
}

// Check clicks a radio button or checkbox.
func (p *Page) Check(selector string) {
	p.tb.Helper()
	p.Do("check "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// Upload chooses files for the file field of the CSS selector.
func (p *Page) Upload(selector string, files ...string) {
	p.tb.Helper()
	p.Do("upload with "+selector, chromedp.SetUploadFiles(chromedp.CSS(selector), files))
}

// Text returns the visible text of the first element of the CSS selector.
func (p *Page) Text(selector string) string {
	p.tb.Helper()
	text, err := chromedp.Run(p.ctx, chromedp.Text(chromedp.CSS(selector)))
	if err != nil {
		p.tb.Fatalf("read %s: %v", selector, err)
	}
	return text
}

// Value runs a JavaScript expression in the page and returns what it yields. A promise
// is awaited.
func Value[T any](p *Page, expression string) T {
	p.tb.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.tb.Fatalf("evaluate %.80s: %v", expression, err)
	}
	return v
}

// Context is the tab's, for actions of package chromedp that this package does not name.
func (p *Page) Context() context.Context { return p.ctx }

// folder is where this run's screenshots go; it is named once and kept.
var folder = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("TONGBAN_SCREENSHOTS"); dir != "" {
		return dir, os.MkdirAll(dir, 0o755)
	}
	return os.MkdirTemp("", "tongban-screens-")
})

// Screenshot writes the whole page as <name>.png into a folder of the run, which stays
// (the environment's TONGBAN_SCREENSHOTS names another), and returns the file's path.
func (p *Page) Screenshot(name string) string {
	p.tb.Helper()
	dir, err := folder()
	if err != nil {
		p.tb.Fatalf("make the folder of the screenshots: %v", err)
	}
	image, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		p.tb.Fatalf("take the screenshot %s: %v", name, err)
	}
	file := filepath.Join(dir, name+".png")
	if err := os.WriteFile(file, image, 0o644); err != nil {
		p.tb.Fatalf("write the screenshot: %v", err)
	}
	p.tb.Logf("screenshot %s", file)
	return file
}

// listen notes script errors, policy refusals and requests to other hosts.
func (p *Page) listen(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		p.console = append(p.console, thrown(e.ExceptionDetails))
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			p.console = append(p.console, fmt.Sprintf("%s: %s", e.Entry.Source, e.Entry.Text))
		}
	case *network.EventRequestWillBeSent:
		p.noteRequest(e.Request.URL)
	}
}

func thrown(e *runtime.ExceptionDetails) string {
	if e.Exception != nil && e.Exception.Description != "" {
		return e.Exception.Description
	}
	return e.Text
}
