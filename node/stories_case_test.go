package node_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
	"golang.org/x/sync/errgroup"

	"tongban/portal/portaltest"
)

const (
	resident      = "11010519491231002X" // The example of GB 11643-1999.
	wrongResident = "110105194912310021"
)

// caseStory: a citizen finds an item, applies with a mistake first, tracks on another
// visit, corrects and reads the result; the officer of the department handles the case, and
// the other department's officer does not find it.
func (d *storyDistrict) caseStory(t *testing.T, i int, citizens, officers look) {
	number, secret := d.applies(t, i, citizens)
	citizen := d.tracks(t, i, citizens, number, secret)

	officer := d.visitor(t, "2-officer", officers)
	officer.open("/sign-in", 200)
	officer.see("sign-in")
	officer.signInHere(d.officers[i])
	path := officer.finds(i, number)
	officer.corrects(path)
	d.stranger(t, 1-i, officers, path)

	citizen.answers(number)
	officer.decides(path)
	citizen.open("/t/"+d.slug(i)+"/track/"+number, 200)
	citizen.reads(citizen.either("准予", "Granted"), "符合条件，准予办理。")
	citizen.see("result")
	citizen.send("/track/leave", 200)
	citizen.see("left")
	citizen.open("/t/"+d.slug(i)+"/track/"+number, 403)
	citizen.see("asked-again")
}

// applies searches, reads the guide and applies; it returns number and secret.
func (d *storyDistrict) applies(t *testing.T, i int, l look) (number, secret string) {
	v := d.visitor(t, "1-citizen", l)
	v.open("/", 200)
	v.see("home")
	v.Fill("#search", "没有这种事")
	v.click(".tb-search__button", 200)
	v.see("nothing-found")
	v.Fill("#search", departments[i].query)
	v.click(".tb-search__button", 200)
	v.see("search")
	v.Fill("#search", departments[i].item)
	v.click(".tb-search__button", 200)
	v.follow(departments[i].item)
	v.see("guide")
	v.click(`main a.govuk-button[href$="/apply"]`, 200)
	v.see("apply")
	v.fill(map[string]string{"name": "王建国", "id_number": wrongResident, "phone": "13900001234", "note": "由外县转入。"})
	v.send("/apply", 400)
	v.see("apply-wrong")
	v.complains([]string{"id_number", "truth"}, map[string]string{"name": "王建国", "id_number": wrongResident, "phone": "13900001234", "note": "由外县转入。"})
	v.fill(map[string]string{"id_number": resident})
	v.Check("input[name=truth]")
	v.send("/apply", 200)
	v.see("receipt")
	v.OnPaper(func() { v.Screenshot(v.story + "-" + l.name + "-receipt-on-paper") })
	numbers := portaltest.Value[[]string](v.Page, `[...document.querySelectorAll(".tb-number")].map(e => e.textContent.trim())`)
	if len(numbers) != 2 {
		t.Fatalf("the receipt shows %q, not a number and a secret", numbers)
	}
	return numbers[0], numbers[1]
}

// tracks comes back with an empty browser, types the secret wrong and then right.
func (d *storyDistrict) tracks(t *testing.T, i int, l look, number, secret string) *visitor {
	v := d.visitor(t, "1-citizen-back", l)
	v.open("/", 200)
	v.click(`.tb-menu a[href="/track"]`, 200)
	v.see("track-form")
	v.fill(map[string]string{"number": number, "secret": "AAAA2222"})
	v.send("/track", 404)
	v.see("wrong-secret")
	v.open("/track", 200)
	v.fill(map[string]string{"number": number, "secret": secret})
	v.send("/track", 200)
	v.reads("王**")
	v.see("progress")
	return v
}

// answers reads the request for corrections, sends nothing first, then the answer.
func (v *visitor) answers(number string) {
	v.t.Helper()
	v.Open(portaltest.Value[string](v.Page, "location.href"))
	v.reads("请补交身份证复印件")
	v.see("correction")
	v.send(number+"/correction", 400)
	v.see("correction-empty")
	v.fill(map[string]string{"answer": "身份证复印件已送窗口，转出地经办机构写在申请表第二页。"})
	v.send(number+"/correction", 200)
	v.see("corrected")
}

// finds goes from the to-do to the case and returns its path.
func (v *visitor) finds(i int, number string) string {
	v.t.Helper()
	list := "/t/" + v.d.slug(i) + "/cases"
	v.open("/", 200)
	v.click(fmt.Sprintf(`.tb-menu a[href=%q]`, list), 200)
	v.see("to-do")
	v.open(list+"?view=all&q=%E6%B2%A1%E6%9C%89", 200)
	v.see("to-do-nothing")
	v.open(list, 200)
	v.follow(number)
	v.reads("王建国", resident)
	v.see("case")
	return v.path()
}

// corrects asks for corrections; a second time it is refused.
func (v *visitor) corrects(path string) {
	v.t.Helper()
	v.click(`main a[href*="/correct?"]`, 200)
	v.see("correct")
	v.send("/correct", 400)
	v.see("correct-empty")
	second := v.tab("2-officer-second-correction")
	second.Open(portaltest.Value[string](v.Page, "location.href"))
	v.fill(map[string]string{"text": "请补交身份证复印件。\n请在申请表第二页写明转出地经办机构。"})
	v.send("/correct", 200)
	v.see("correction-asked")
	v.open(path+"/correct", 409)
	v.see("correct-again")
	v.open(path, 200)
}

// stranger is the other department's officer: for her there is no such case.
func (d *storyDistrict) stranger(t *testing.T, i int, l look, path string) {
	v := d.visitor(t, "2-stranger", l)
	v.signIn(d.officers[i])
	v.open(path, 404)
	v.see("not-found")
}

// decides accepts and reviews, decides in two tabs at once, and closes.
func (v *visitor) decides(path string) {
	v.t.Helper()
	v.open(path, 200)
	v.see("case-corrected")
	v.send("/accept", 200)
	v.see("accepted")
	v.send("/review", 200)
	other := v.tab("2-officer-other-tab")
	other.open(path, 200)
	for _, one := range []*visitor{v, other} {
		one.click(`main a[href*="/grant?"]`, 200)
		one.fill(map[string]string{"text": "符合条件，准予办理。"})
	}
	v.see("grant")
	status := sendTogether(v, other, "/grant")
	if sorted := slices.Sorted(slices.Values(status[:])); !slices.Equal(sorted, []int{200, 409}) {
		v.t.Fatalf("two tabs that decide at once: %v, want one 200 and one 409", status)
	}
	loser := v
	if status[1] == 409 {
		loser = other
	}
	loser.see("conflict")
	v.open(path, 200)
	v.see("granted")
	v.send("/close", 200)
	v.reads(v.either("已办结", "Closed"))
	v.click(`main a[href*="/deliver?"]`, 200)
	v.see("deliver")
	v.Check("input[name=code][value=window]")
	v.send("/deliver", 200)
	v.send("/archive", 200)
	v.see("archived")
}

// sendTogether presses the button in both tabs at once and returns the answers' statuses.
func sendTogether(a, b *visitor, action string) (status [2]int) {
	a.t.Helper()
	var g errgroup.Group
	for i, one := range []*visitor{a, b} {
		g.Go(func() error {
			button := chromedp.CSS(fmt.Sprintf(`main form[method=post][action$=%q] button[type=submit]`, action))
			answer, err := chromedp.RunResponse(one.Context(), chromedp.Click(button))
			if err == nil {
				status[i] = int(answer.Status)
			}
			return err
		})
	}
	must(a.t, g.Wait())
	return status
}
