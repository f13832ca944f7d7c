package portaltest

import (
	_ "embed"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/chromedp/chromedp"
)

//go:embed axe/axe.min.js
var axe string

// Violation is a rule of axe-core that a page breaks.
type Violation struct {
	ID     string   `json:"id"`
	Impact string   `json:"impact"` // minor, moderate, serious, critical
	Help   string   `json:"help"`
	Nodes  []string `json:"nodes"` // Where, with axe's words on what is wrong.
}

// String is one line a finding.
func (v Violation) String() string {
	return fmt.Sprintf("%s (%s): %s\n    %s", v.ID, v.Impact, v.Help, strings.Join(v.Nodes, "\n    "))
}

// run asks for the rules of WCAG 2.2 A and AA and axe's best practices.
const run = `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]})
	.then(r => r.violations.map(v => ({id: v.id, impact: v.impact, help: v.help,
		nodes: v.nodes.map(n => n.target.join(" ") + ": " + n.failureSummary.replace(/\s+/g, " "))})))`

// Axe runs axe-core on the page as it is now and returns every violation. A page opened
// with JSOff is checked too: scripts are on during the check only.
func (p *Page) Axe() []Violation {
	p.tb.Helper()
	if !p.scripts {
		p.setScripts(true)
		defer p.setScripts(false)
	}
	p.Do("load axe-core", chromedp.Evaluate[chromedp.Void](axe+"\n;true"))
	return Value[[]Violation](p, run)
}

// Serious are the violations that no page may have: serious and critical ones.
func Serious(all []Violation) []Violation {
	return slices.DeleteFunc(slices.Clone(all), func(v Violation) bool {
		return v.Impact != "serious" && v.Impact != "critical"
	})
}

// MustBeClean fails the test if the page breaks a serious rule of axe-core, if one of
// its scripts threw, if the Content-Security-Policy refused something, or if it asked
// another host for anything.
func (p *Page) MustBeClean(page string) {
	p.tb.Helper()
	for _, v := range p.Axe() {
		if v.Impact == "serious" || v.Impact == "critical" {
			p.tb.Errorf("%s: axe-core: %s", page, v)
		} else {
			p.tb.Logf("%s: axe-core, not serious: %s", page, v)
		}
	}
	for _, line := range p.Console() {
		p.tb.Errorf("%s: console: %s", page, line)
	}
	for _, address := range p.Foreign() {
		p.tb.Errorf("%s: asked another host: %s", page, address)
	}
}

// SticksOut names the elements that make the page scroll sideways; empty: it fits its
// window.
func (p *Page) SticksOut() string {
	p.tb.Helper()
	return Value[string](p, `document.documentElement.scrollWidth <= document.documentElement.clientWidth ? "" :
		[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth)
			.map(e => e.tagName + "." + e.className + " " + e.getBoundingClientRect().right).slice(0, 8).join("; ") || "unknown"`)
}

// Console returns what scripts threw and what the policy refused since the start.
func (p *Page) Console() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.console)
}

// Foreign returns the requests that went to other hosts than the first one.
func (p *Page) Foreign() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.foreign)
}

// noteRequest runs under the lock.
func (p *Page) noteRequest(address string) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" { // about:, data:, blob:
		return
	}
	if p.host == "" {
		p.host = u.Host
	}
	if u.Host != p.host {
		p.foreign = append(p.foreign, address)
	}
}
