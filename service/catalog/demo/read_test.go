package demo

import (
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
)

func TestAMaterialIsReadFromItsMarks(t *testing.T) {
	for token, want := range map[string]Material{
		"居民身份证":      {Name: "居民身份证", Kind: Original, Required: true, Source: Applicant},
		"=营业执照":      {Name: "营业执照", Kind: Original, Required: true, Source: SharedData},
		"授权委托书?":     {Name: "授权委托书", Kind: Form, Source: Applicant},
		"资格证书复印件":    {Name: "资格证书复印件", Kind: Copy, Required: true, Source: Applicant},
		"残疾评定表":      {Name: "残疾评定表", Kind: Form, Required: true, Source: Applicant},
		"章程{《~公司法》}": {Name: "章程", Kind: Original, Required: true, Source: Applicant, Basis: "《中华人民共和国公司法》"},
	} {
		if got := parseMaterial(token); got != want {
			t.Errorf("parseMaterial(%q) = %+v, want %+v", token, got, want)
		}
	}
}

func TestAnItemTakesSetsStepsAndDefaults(t *testing.T) {
	c := readLines(t, "0001|1|12|开店许可|Shop licence|《~食品安全法》第三十五条；《某办法》|20/7 现场|0ow|0|@身份证；申请表|许可证|有场所|开店 摆摊")
	item := c.items[0]
	want := []Material{
		{Name: "居民身份证", Kind: Original, Required: true, Source: Applicant, Basis: "《身份证法》"},
		{Name: "申请表", Kind: Form, Required: true, Source: Applicant, Basis: "《中华人民共和国食品安全法》第三十五条"},
	}
	if !reflect.DeepEqual(item.Materials, want) {
		t.Errorf("materials %+v", item.Materials)
	}
	if item.StatutoryDays != 20 || item.PromiseDays != 7 || item.ProjectType != Promised || item.Steps[1] != "现场核查" {
		t.Errorf("limits and steps %+v", item)
	}
	if item.MainItem != "开店" || item.BasicCode != "DEMO07010001" || len(item.ServiceObjects) != 2 {
		t.Errorf("group, code, objects %+v", item)
	}
}

func TestAWrongLineIsNamedWithItsFileAndNumber(t *testing.T) {
	good := "0001|1|1|开店许可||《甲法》|20/7 现场|0ow|0|无|许可证|有场所|开店"
	for name, change := range map[string][2]string{
		"a missing field":        {"|有场所", ""},
		"an unknown task type":   {"0001|1|", "0001|2|"},
		"an unknown object":      {"|1|1|", "|1|9|"},
		"limits without a slash": {"20/7", "20"},
		"an unknown promise":     {"20/7", "20/x"},
		"unknown steps":          {"现场", "跳步"},
		"an unknown channel":     {"0ow", "0oz"},
		"two visits":             {"0ow", "2ow"},
		"an unknown set":         {"|无|", "|@没有|"},
	} {
		line := strings.Replace(good, change[0], change[1], 1)
		if line == good {
			t.Fatalf("%s: nothing changed", name)
		}
		_, err := read(testFiles(line))
		if err == nil || !strings.Contains(err.Error(), "07-shop.txt:4: ") {
			t.Errorf("%s: error %v does not name the line", name, err)
		}
	}
	if _, err := read(testFiles(good)); err != nil {
		t.Errorf("the good line: %v", err)
	}
}

// testFiles is a data folder with one department and one item's line.
func testFiles(line string) fstest.MapFS {
	return fstest.MapFS{
		"data/materials.txt":     {Data: []byte("身份证 => 居民身份证{《身份证法》}\n")},
		"data/steps.txt":         {Data: []byte("现场 => 申请；现场核查；决定\n")},
		"data/items/07-shop.txt": {Data: []byte("# a comment\nslug = shop\n[开店]\n" + line + "\n")},
	}
}

func readLines(t *testing.T, line string) catalog {
	t.Helper()
	c, err := read(testFiles(line))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
