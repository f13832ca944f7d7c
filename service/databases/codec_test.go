package databases

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"tongban/replication"
)

func TestStatementsAreReadAsTheyWereWritten(t *testing.T) {
	named := func(n string, v any) replication.Named { return replication.Named{Name: n, Value: v} }
	for body, want := range map[string]any{
		`["a", ["b"], [ "c" , 1 ] ]`:                                 []replication.Statement{{SQL: "a"}, {SQL: "b"}, {SQL: "c", Args: []any{int64(1)}}},
		`[["x", null, true, false, "t", -5, 1.5]]`:                   []replication.Statement{{SQL: "x", Args: []any{nil, true, false, "t", int64(-5), 1.5}}},
		`[["x", 9223372036854775807, 9223372036854775808, 1e3, -0]]`: []replication.Statement{{SQL: "x", Args: []any{int64(math.MaxInt64), 9223372036854775808.0, 1000.0, int64(0)}}},
		`[["x", [], [0, 255], "x'0aFF'", "X''", "x'0'", "x'zz'"]]`:   []replication.Statement{{SQL: "x", Args: []any{[]byte{}, []byte{0, 255}, []byte{10, 255}, []byte{}, "x'0'", "x'zz'"}}},
		`[["x", {"a": 1, "b": [1]}, 2]]`:                             []replication.Statement{{SQL: "x", Args: []any{named("a", int64(1)), named("b", []byte{1}), int64(2)}}},
		`["\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud83d!"]`:              []replication.Statement{{SQL: "\"\\/\b\f\n\r\té😀\ufffd!"}},
		" [ \"王\" ] \n":      []replication.Statement{{SQL: "王"}},
		``:                   errInvalidJSON,
		`[`:                  errInvalidJSON,
		`["a"`:               errInvalidJSON,
		`["a" "b"]`:          errInvalidJSON,
		`["a",]`:             errInvalidRequest,
		`["a"] x`:            errInvalidJSON,
		`["a`:                errInvalidJSON,
		`["\x"]`:             errInvalidJSON,
		"[\"\n\"]":           errInvalidJSON,
		"[\"\xff\"]":         errInvalidJSON,
		`[["a", 01]]`:        errInvalidJSON,
		`[["a", 1.]]`:        errInvalidJSON,
		`[["a", 1e999]]`:     errInvalidJSON,
		`[["a", +1]]`:        errInvalidJSON,
		`[["a", nul]]`:       errInvalidJSON,
		`[["a", [256]]]`:     errUnsupportedType,
		`[["a", ["b"]]]`:     errUnsupportedType,
		`[["a", [-1]]]`:      errUnsupportedType,
		`[["a", {"b": {}}]]`: errUnsupportedType,
		`[["a", {"b"}]]`:     errInvalidJSON,
		`[[]]`:               errInvalidRequest,
		`[[1]]`:              errInvalidRequest,
		`[1]`:                errInvalidRequest,
		`{}`:                 errInvalidRequest,
		`[]`:                 errNoStatements,
	} {
		got, err := decode([]byte(body))
		if failure, ok := want.(error); ok {
			if err != failure {
				t.Errorf("%s: %v, %v", body, got, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, %v", body, got, err)
		}
	}
}

// plainStatements reads a body with encoding/json; false: it has what only decode knows.
func plainStatements(body []byte) (list []replication.Statement, ok bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var items []any
	if d.Decode(&items) != nil || d.More() || len(items) == 0 {
		return nil, false
	}
	for _, item := range items {
		parts, isList := item.([]any)
		if !isList {
			parts = []any{item}
		}
		if len(parts) == 0 {
			return nil, false
		}
		sql, isText := parts[0].(string)
		if !isText {
			return nil, false
		}
		s := replication.Statement{SQL: sql}
		for _, p := range parts[1:] {
			switch v := p.(type) {
			case json.Number:
				if n, err := v.Int64(); err == nil {
					p = n
				} else if f, err := v.Float64(); err == nil {
					p = f
				} else {
					return nil, false
				}
			case string:
				if blob, ok := parseHex(v); ok {
					p = blob
				}
			case []any, map[string]any:
				return nil, false
			}
			s.Args = append(s.Args, p)
		}
		list = append(list, s)
	}
	return list, true
}

// FuzzDecode holds the reader of statements against encoding/json.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`["a"]`, `[["b", 1, -2.5e3, null, true, "x'00'", "\ud83d\ude00\u0000"]]`, `[["c", [1, 2]], ["d", {"e": 1}]]`, "[\"\xff\"]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		got, err := decode(body)
		if !bytes.Equal(before, body) {
			t.Error("the body was changed")
		}
		want, plain := plainStatements(body)
		if plain && (err != nil || !reflect.DeepEqual(got, want)) && bytes.Equal(body, []byte(strings.ToValidUTF8(string(body), "?"))) {
			t.Errorf("%q: %#v, %v; encoding/json reads %#v", body, got, err, want)
		}
		if err == nil && !json.Valid(body) {
			t.Errorf("%q was read, and is no JSON", body)
		}
	})
}

// FuzzText holds the writer of texts and numbers against encoding/json.
func FuzzText(f *testing.F) {
	f.Add("a\"\\\n\x00\x7f王\xff\u2028<&>", 1.5)
	f.Add("", 1e-7)
	f.Add("x", 1e21)
	f.Fuzz(func(t *testing.T, s string, n float64) {
		var text string
		if err := json.Unmarshal(appendText(nil, s), &text); err != nil || text != string([]rune(s)) {
			t.Errorf("%q became %s", s, appendText(nil, s))
		}
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return
		}
		want, err := json.Marshal(n)
		if err != nil || string(appendFloat(nil, n)) != string(want) {
			t.Errorf("%v became %s, encoding/json writes %s", n, appendFloat(nil, n), want)
		}
	})
}

func TestValuesAreWrittenByTheTypeOfTheirColumn(t *testing.T) {
	seconds := time.Date(2023, 11, 14, 22, 13, 20, 0, time.UTC)
	for _, c := range []struct {
		declared string
		v        any
		want     string
	}{
		{"BOOLEAN", int64(1), "true"}, {"boolean", int64(0), "false"}, {"boolean", "x", `"x"`}, {"boolean", nil, "null"},
		{"DATETIME", seconds.Unix(), `"2023-11-14T22:13:20Z"`}, {"TIMESTAMP", seconds.UnixMilli() + 5, `"2023-11-14T22:13:20.005Z"`},
		{"date", "2023-11-14", `"2023-11-14T00:00:00Z"`}, {"datetime", "2023-11-14 22:13:20", `"2023-11-14T22:13:20Z"`},
		{"datetime", "2023-11-14T22:13:20+08:00", `"2023-11-14T14:13:20Z"`}, {"datetime", "soon", `"soon"`}, {"datetime", 1.5, "1.5"},
		{"TEXT", []byte("ab"), `"ab"`}, {"VARCHAR(10)", []byte("ab"), `"ab"`}, {"BLOB", []byte("ab"), `"YWI="`}, {"", []byte("ab"), `"YWI="`},
		{"INTEGER", int64(math.MinInt64), "-9223372036854775808"}, {"REAL", 1.0, "1"}, {"REAL", math.Inf(1), "null"}, {"REAL", 1e300, "1e+300"},
	} {
		if got := string(form{}.appendValue(nil, c.v, kindOf(strings.ToLower(c.declared)))); got != c.want {
			t.Errorf("%v as %s is %s, not %s", c.v, c.declared, got, c.want)
		}
	}
}

func TestTheAddressSaysHowToAnswer(t *testing.T) {
	for query, want := range map[string]params{
		"":                                  {},
		"level=NONE&timings&associative=x":  {level: none, form: form{timings: true, associative: true}},
		"transaction&queue&wait&timeout=2s": {transaction: true, queue: true, wait: true, timeout: 2 * time.Second},
		"q=SELECT+%27%26%27&redirect":       {q: "SELECT '&'"},
		"blob_array&pretty&raft_index&db_timeout=1m&level=strong": {form: form{blobArray: true}, pretty: true, raftIndex: true,
			dbTimeout: time.Minute, level: strong},
	} {
		if p, err := parseParams(query); err != nil || p != want {
			t.Errorf("%s: %+v, %v", query, p, err)
		}
	}
	for _, query := range []string{"level=some", "timeout=0s", "timeout=-1s", "db_timeout=x", "q=", "q=%zz"} {
		if _, err := parseParams(query); err == nil {
			t.Errorf("%s is accepted", query)
		}
	}
}
