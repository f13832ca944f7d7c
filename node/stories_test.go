package node_test

import (
	"testing"
	"time"

	"tongban/portal/portaltest"
)

// TestStories lets people use a real division in a real browser, from the first boot to
// the end of a case: in both languages, wide and on a phone, citizens without scripts.
// Every page is looked at: no serious finding of axe-core, no error of a script, no
// request to another host, no raw key, nothing wider than the window; its screenshot
// stays in the folder that the test names.
func TestStories(t *testing.T) {
	if testing.Short() {
		t.Skip("not run: browser stories take a minute; run without -short")
	}
	portaltest.Require(t)
	d := newStoryDistrict(t)
	d.foundAccounts(t)
	t.Run("together", func(t *testing.T) {
		for name, story := range map[string]func(t *testing.T){
			"a case, citizen on a phone": func(t *testing.T) {
				d.caseStory(t, 0, phone(portaltest.JSOff()), desktop())
			},
			"a case, in English": func(t *testing.T) {
				d.caseStory(t, 1, desktopEnglish(portaltest.JSOff()), phoneEnglish())
			},
			"repair":                        func(t *testing.T) { d.repairStory(t, 0, desktop()) },
			"repair, on a phone in English": func(t *testing.T) { d.repairStory(t, 1, phoneEnglish()) },
			"accounts":                      func(t *testing.T) { d.accountsStory(t, 0, desktop()) },
			"accounts, on a phone":          func(t *testing.T) { d.accountsStory(t, 1, phoneEnglish()) },
			"audit":                         func(t *testing.T) { d.auditStory(t, desktop()) },
			"audit, on a phone":             func(t *testing.T) { d.auditStory(t, phoneEnglish()) },
			"errors":                        func(t *testing.T) { d.errorStory(t, desktop()) },
			"errors, on a phone":            func(t *testing.T) { d.errorStory(t, phoneEnglish()) },
			"looks":                         d.looksStory,
		} {
			t.Run(name, func(t *testing.T) { t.Parallel(); story(t) })
		}
	})
	d.expiryStory(t) // Last: it ends everybody's session.
}

// expiryStory lets a session end while its officer reads, and finds the way back.
func (d *storyDistrict) expiryStory(t *testing.T) {
	v := d.visitor(t, "expiry", desktop())
	v.signIn(d.officers[0])
	list := "/t/" + d.slug(0) + "/cases"
	v.open(list, 200)
	d.ahead.Add(int64(31 * time.Minute))
	v.open(list, 401)
	v.see("session-ended")
	v.click("main a.govuk-button", 200)
	v.see("sign-in-again")
	v.signInHere(d.officers[0])
	if v.path() != list {
		t.Errorf("after signing in again one is at %s, not at %s", v.path(), list)
	}
}
