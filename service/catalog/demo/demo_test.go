package demo

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// creditAlphabet is that of GB 32100-2015: no I, O, Z, S, V.
const creditAlphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// validCreditCode checks length, alphabet and check character (GB 32100-2015). It is
// written apart from package catalog's check, so that one mistake does not hide in both.
func validCreditCode(s string) bool {
	if len(s) != 18 {
		return false
	}
	sum, weight := 0, 1
	for _, r := range s[:17] {
		v := strings.IndexRune(creditAlphabet, r)
		if v < 0 {
			return false
		}
		sum += v * weight
		weight = weight * 3 % 31
	}
	return s[17] == creditAlphabet[(31-sum%31)%31]
}

// validOrganisationCode checks the nine characters inside a credit code (GB 11714-1997).
func validOrganisationCode(s string) bool {
	weights := [8]int{3, 7, 9, 10, 5, 8, 4, 2}
	sum := 0
	for i, r := range s[:8] {
		v := int(r - '0')
		if r >= 'A' {
			v = int(r-'A') + 10
		}
		sum += v * weights[i]
	}
	return s[8] == "0X987654321"[sum%11]
}

func TestTheCreditCodeHelperKnowsRightFromWrong(t *testing.T) {
	for code, want := range map[string]bool{
		"91350100M000100Y43": true, // The example most often printed beside the standard.
		"91350100M000100Y44": false,
		"9135010OM000100Y43": false,
		"":                   false,
	} {
		if validCreditCode(code) != want {
			t.Errorf("validCreditCode(%q) = %v", code, !want)
		}
	}
}

func TestTheCountyHasTwelveDepartmentsThatCannotBeReal(t *testing.T) {
	departments := Departments()
	if len(departments) != 12 {
		t.Fatalf("%d departments instead of 12", len(departments))
	}
	slug := regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
	seen := map[string]bool{}
	for _, d := range departments {
		for _, key := range []string{d.Name, d.NameEN, d.Slug, d.BodyCode} {
			if key == "" || seen[key] {
				t.Errorf("%s: %q is empty or used twice", d.Slug, key)
			}
			seen[key] = true
		}
		if !slug.MatchString(d.Slug) {
			t.Errorf("slug %q", d.Slug)
		}
		if !strings.HasPrefix(d.Name, "演示县") {
			t.Errorf("%s does not say that it is for demonstration", d.Name)
		}
		if !validCreditCode(d.BodyCode) || !validOrganisationCode(d.BodyCode[8:17]) {
			t.Errorf("%s: body code %q has a wrong check character", d.Slug, d.BodyCode)
		}
		if d.BodyCode[2:8] != "999999" {
			t.Errorf("%s: body code %q is in a division that may exist", d.Slug, d.BodyCode)
		}
	}
}

func TestTheCatalogIsLargeAndCoversEveryDepartmentAndType(t *testing.T) {
	items := Items()
	if len(items) < 300 {
		t.Errorf("%d items, want at least 300", len(items))
	}
	english := 0
	byDepartment, byType := map[string]int{}, map[TaskType]int{}
	for _, item := range items {
		byDepartment[item.Department.Slug]++
		byType[item.TaskType]++
		if item.NameEN != "" {
			english++
		}
	}
	if english < 100 {
		t.Errorf("%d items have an English name, want at least 100", english)
	}
	for _, d := range Departments() {
		if byDepartment[d.Slug] < 10 {
			t.Errorf("%s has %d items, want at least 10", d.Slug, byDepartment[d.Slug])
		}
	}
	for _, k := range []TaskType{Permit, Payment, Confirmation, Reward, Ruling, OtherPower, PublicService} {
		if byType[k] == 0 {
			t.Errorf("no item of type %d %s", k, k)
		}
	}
}

func TestNamesAndCodesAreUniqueAndWellFormed(t *testing.T) {
	basic := regexp.MustCompile(`^DEMO[0-9]{8}$`)
	seen := map[string]bool{}
	for _, item := range Items() {
		for _, key := range []string{item.Name, item.BasicCode, item.ItemCode} {
			if seen[key] {
				t.Errorf("%s: %q is used twice", item.Name, key)
			}
			seen[key] = true
		}
		if !basic.MatchString(item.BasicCode) {
			t.Errorf("%s: basic code %q", item.Name, item.BasicCode)
		}
		if len(item.ItemCode) != 31 || item.ItemCode != item.Department.BodyCode+"4"+item.BasicCode {
			t.Errorf("%s: item code %q is not body, level 4 and basic code", item.Name, item.ItemCode)
		}
	}
}

func TestEveryGuideIsComplete(t *testing.T) {
	for _, item := range Items() {
		if item.Notice != Notice {
			t.Errorf("%s does not carry the notice", item.Name)
		}
		if item.MainItem == "" || item.Name == "" || item.Result == "" || item.Conditions == "" || item.Fee == "" {
			t.Errorf("%s has an empty field: %+v", item.Name, item)
		}
		if item.PromiseDays < 1 || item.PromiseDays > item.StatutoryDays {
			t.Errorf("%s: promise %d, statutory limit %d", item.Name, item.PromiseDays, item.StatutoryDays)
		}
		if (item.ProjectType == Instant) && item.PromiseDays != 1 {
			t.Errorf("%s is instant and promises %d days", item.Name, item.PromiseDays)
		}
		if len(item.ServiceObjects) == 0 || len(item.Steps) < 2 || len(item.Keywords) == 0 {
			t.Errorf("%s: objects %q, steps %q, keywords %q", item.Name, item.ServiceObjects, item.Steps, item.Keywords)
		}
		if len(item.Channels) == 0 {
			t.Errorf("%s has no channel", item.Name)
		}
		if item.Visits == 1 && !slices.Contains(item.Channels, "window") {
			t.Errorf("%s asks for a visit and has no window", item.Name)
		}
		if len(item.LegalBasis) == 0 {
			t.Errorf("%s has no legal basis", item.Name)
		}
		for _, basis := range item.LegalBasis {
			if !strings.HasPrefix(basis, "《") || utf8.RuneCountInString(basis) < 5 {
				t.Errorf("%s: legal basis %q names no statute", item.Name, basis)
			}
		}
	}
}

func TestMaterialsAreWholeAndNeverAskedTwice(t *testing.T) {
	without := 0
	for _, item := range Items() {
		if len(item.Materials) == 0 {
			without++
		}
		names := map[string]bool{}
		for _, m := range item.Materials {
			if m.Name == "" || strings.ContainsAny(m.Name, "@=?{}|~") {
				t.Errorf("%s: material %q was not read right", item.Name, m.Name)
			}
			if names[m.Name] {
				t.Errorf("%s asks for %s twice", item.Name, m.Name)
			}
			names[m.Name] = true
			if m.Basis == "" {
				t.Errorf("%s: %s has no basis", item.Name, m.Name)
			}
		}
	}
	if without == 0 || without > len(Items())/10 {
		t.Errorf("%d items without material: want some, and not a tenth", without)
	}
}

func TestEveryMaterialSetAndStepsAreUsed(t *testing.T) {
	text := ""
	for _, d := range mustRead().departments {
		b, err := files.ReadFile("data/items/" + d.number + "-" + d.Slug + ".txt")
		if err != nil {
			t.Fatalf("the file of %s is not named after it: %v", d.Slug, err)
		}
		text += string(b)
	}
	for name := range mustRead().sets {
		if !regexp.MustCompile(`@` + name + `(；|\|)`).MatchString(text) {
			t.Errorf("no item uses the set %s", name)
		}
	}
	used := map[string]bool{}
	for _, item := range Items() {
		used[strings.Join(item.Steps, "；")] = true
	}
	for name, steps := range mustRead().steps {
		if !used[strings.Join(steps, "；")] {
			t.Errorf("no item takes the steps %s", name)
		}
	}
}

// texts lists every text of an item that a person reads.
func texts(item Item) []string {
	out := slices.Concat([]string{item.MainItem, item.Name, item.NameEN, item.Fee, item.Conditions, item.Result},
		item.LegalBasis, item.Steps, item.Keywords)
	for _, m := range item.Materials {
		out = append(out, m.Name, m.Basis)
	}
	return out
}

func TestBracketsCloseAndNoWritingMarkIsLeft(t *testing.T) {
	for _, item := range Items() {
		for _, s := range texts(item) {
			for open, shut := range map[string]string{"《": "》", "（": "）", "〔": "〕", "“": "”", "〈": "〉"} {
				if strings.Count(s, open) != strings.Count(s, shut) {
					t.Errorf("%s: %s and %s do not pair in %q", item.Name, open, shut, s)
				}
			}
			if strings.ContainsAny(s, "~|@{}") {
				t.Errorf("%s: a mark of the data format is left in %q", item.Name, s)
			}
			if strings.ContainsFunc(s, unicode.IsControl) || !utf8.ValidString(s) {
				t.Errorf("%s: %q has control characters", item.Name, s)
			}
		}
	}
}

func TestEverydayWordsFindWhatPeopleNeed(t *testing.T) {
	for word, want := range map[string]string{
		"社保卡丢了": "社会保障卡挂失",
		"生孩子":   "户口登记",
		"开饭馆":   "食品经营许可",
		"残疾证":   "残疾人证办理",
		"医保报销":  "住院费用报销",
		"跑运输":   "道路运输经营许可",
		"离婚":    "离婚登记",
		"过户":    "不动产转移登记（存量房买卖）",
		"教师证":   "教师资格认定",
		"开网吧":   "互联网上网服务营业场所设立审批",
	} {
		if !slices.ContainsFunc(Items(), func(i Item) bool { return i.Name == want && slices.Contains(i.Keywords, word) }) {
			t.Errorf("%q does not lead to %s", word, want)
		}
	}
}

func TestCallersOwnWhatTheyGet(t *testing.T) {
	first := Items()[0]
	name, step := first.Materials[0].Name, first.Steps[0]
	first.Materials[0].Name, first.Steps[0] = "changed", "changed"
	if again := Items()[0]; again.Materials[0].Name != name || again.Steps[0] != step {
		t.Error("a change in one caller's items is seen by the next")
	}
}
