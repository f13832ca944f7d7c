package enrol_test

import (
	"reflect"
	"strings"
	"testing"

	"tongban/node/enrol"
)

func TestListsOfDivisionsAreRead(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []enrol.Row
	}{
		"codes and names, one a line":                {"511602\n\n# those of Guang'an\n邻水县\n", []enrol.Row{{Line: 1, Code: "511602"}, {Line: 4, Name: "邻水县"}}},
		"a header, other columns, a byte order mark": {"\ufeff序号,名称,代码\r\n1, 广安区 ,511602\r\n", []enrol.Row{{Line: 2, Code: "511602", Name: "广安区"}}},
		"levels, a short row":                        {"Code,Level,Name\n441900,county\n", []enrol.Row{{Line: 2, Code: "441900", Level: "county"}}},
		"a row without what names it":                {"code,name,note\n,,soon\n", []enrol.Row{{Line: 2}}},
	} {
		got, err := enrol.ReadRows(strings.NewReader(c.text))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, c := range map[string]struct{ text, want string }{
		"nothing":        {"code,name\n\n", "lists no division"},
		"the wrong file": {strings.Repeat("x", 2<<20), "more than 1048576 bytes"},
		"GBK":            {"\xb9\xe3\xb0\xb2\xc7\xf8\n", "CSV UTF-8"},
		"too many":       {strings.Repeat("511602\n", enrol.MaxRows+1), "more than 200"},
	} {
		if rows, err := enrol.ReadRows(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d rows, %v", name, len(rows), err)
		}
	}
}
