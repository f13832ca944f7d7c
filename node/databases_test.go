package node_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/rqlite/gorqlite"

	"tongban/node/nodetest"
	"tongban/service/databases"
)

// program is a program of a department that uses a database.
type program struct {
	t    *testing.T
	user string
	key  string
}

// call makes one request and returns status, header and body.
func (p program) call(url, body string, header ...string) (int, http.Header, string) {
	p.t.Helper()
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if p.key != "" {
		r.SetBasicAuth(p.user, p.key)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

func newDatabase(t *testing.T, c *nodetest.Cluster, tenant, name string) program {
	t.Helper()
	admin := c.Admin(0)
	defer admin.Close()
	var out databases.Created
	if err := admin.Post(t.Context(), "/databases", databases.NewDatabases{Tenant: tenant, Name: name, Key: true}, &out); err != nil {
		t.Fatal(err)
	}
	return program{t, tenant + "." + name, out.Keys[0].Secret}
}

func TestAProgramUsesGorqliteAtEveryNode(t *testing.T) {
	c := nodetest.Division(t, 3, nodetest.Databases())
	c.CreateTenant(0, "minzheng", "民政局")
	p := newDatabase(t, c, "minzheng", "notes")
	leader := c.Leader(0, "minzheng/notes")
	for i := range 3 {
		url := strings.Replace(c.DatabasesURL(i), "http://", "http://"+p.user+":"+p.key+"@", 1)
		for _, options := range []string{"?disableClusterDiscovery=true", "?level=strong", "?level=linearizable"} {
			conn, err := gorqlite.Open(url + "/" + options)
			if err != nil {
				t.Fatalf("node %d, %s: %v", i, options, err)
			}
			useGorqlite(t, conn, fmt.Sprintf("t%d%d", i, len(options)))
			at, err := conn.Leader()
			if err != nil || !strings.Contains(options, "disable") && at != strings.TrimPrefix(c.DatabasesURL(leader), "http://") {
				t.Errorf("the leader is at %s, %v", at, err)
			}
			if peers, err := conn.Peers(); err != nil || !strings.Contains(options, "disable") && len(peers) != 3 {
				t.Errorf("the peers are %v, %v", peers, err)
			}
			conn.Close()
		}
	}
}

func useGorqlite(t *testing.T, conn *gorqlite.Connection, table string) {
	t.Helper()
	if _, err := conn.WriteOne(`CREATE TABLE ` + table + ` (id INTEGER PRIMARY KEY, name TEXT, big INTEGER, at DATETIME, ok BOOLEAN)`); err != nil {
		t.Fatal(err)
	}
	res, err := conn.WriteOneParameterized(gorqlite.ParameterizedStatement{
		Query:     `INSERT INTO ` + table + ` (name, big, at, ok) VALUES (?, ?, ?, ?)`,
		Arguments: []any{"王芳 \"1\"", 9007199254740993, 1700000000, true}})
	if err != nil || res.LastInsertID != 1 || res.RowsAffected != 1 {
		t.Fatalf("insert: %+v, %v", res, err)
	}
	results, err := conn.Write([]string{`INSERT INTO ` + table + ` (id) VALUES (2)`, `INSERT INTO ` + table + ` (id) VALUES (1)`})
	if err == nil || len(results) != 2 || results[1].Err == nil || !strings.Contains(results[1].Err.Error(), "UNIQUE constraint failed") {
		t.Fatalf("a list of which one fails: %+v, %v", results, err)
	}
	rows, err := conn.QueryOne(`SELECT id, name, at, ok, NULL, 1.5 FROM ` + table)
	if err != nil || rows.NumRows() != 1 {
		t.Fatalf("query: %v, %d rows: the list was all or nothing", err, rows.NumRows())
	}
	rows.Next()
	m, err := rows.Map()
	if err != nil || m["name"] != "王芳 \"1\"" || fmt.Sprint(m["at"]) != "2023-11-14 22:13:20 +0000 UTC" || m["ok"] != true || m["NULL"] != nil || m["1.5"] != 1.5 {
		t.Errorf("row: %v, %v", m, err)
	}
	if seq, err := conn.QueueOne(`INSERT INTO ` + table + ` (name) VALUES ('queued')`); err != nil || seq == 0 {
		t.Errorf("queue: %d, %v", seq, err)
	}
	both, err := conn.Request([]string{`INSERT INTO ` + table + ` (id) VALUES (77)`, `SELECT count(*) AS n FROM ` + table + ` WHERE id = 77`})
	if err != nil || len(both) != 2 || both[0].Write == nil || both[1].Query == nil || both[1].Query.NumRows() != 1 {
		t.Errorf("request: %+v, %v", both, err)
	}
}

func TestAnswersHaveTheFormOfRqlite(t *testing.T) {
	c := nodetest.Division(t, 3, nodetest.Databases())
	c.CreateTenant(0, "minzheng", "民政局")
	p := newDatabase(t, c, "minzheng", "notes")
	for i := range 3 {
		at := c.DatabasesURL(i)
		for _, one := range []struct{ path, body, want string }{
			{"/db/execute", `["DROP TABLE IF EXISTS f"]`, `{"results":[{}]}`},
			{"/db/execute", `["CREATE TABLE f (id INTEGER NOT NULL PRIMARY KEY, name TEXT, age INTEGER, pic BLOB)"]`, `{"results":[{}]}`},
			{"/db/execute", `[["INSERT INTO f(name, age) VALUES(?, ?)", "fiona", 20]]`, `{"results":[{"last_insert_id":1,"rows_affected":1}]}`},
			{"/db/execute", `[["INSERT INTO f(name, age) VALUES(:name, :age)", {"name": "sinead", "age": 25}]]`, `{"results":[{"last_insert_id":2,"rows_affected":1}]}`},
			{"/db/execute", `["INSERT INTO f(id) VALUES (1)", "INSERT INTO f(name) VALUES ('x') RETURNING id, name", "nonsense"]`,
				`{"results":[{"error":"UNIQUE constraint failed: f.id"},{"columns":["id","name"],"types":["integer","text"],"values":[[3,"x"]]},{"error":"near \"nonsense\": syntax error"}]}`},
			{"/db/execute?transaction", `["INSERT INTO f(name) VALUES ('y')", "INSERT INTO f(id) VALUES (1)", "DELETE FROM f"]`,
				`{"results":[{"last_insert_id":4,"rows_affected":1},{"error":"UNIQUE constraint failed: f.id"}]}`},
			{"/db/execute", `[["UPDATE f SET pic = ? WHERE id = 1", "x'0102ff'"], ["UPDATE f SET pic = ? WHERE id = 2", [1, 255]]]`, `{"results":[{"rows_affected":1},{"rows_affected":1}]}`},
			{"/db/query", `["SELECT id, name, pic FROM f ORDER BY id"]`,
				`{"results":[{"columns":["id","name","pic"],"types":["integer","text","blob"],"values":[[1,"fiona","AQL/"],[2,"sinead","Af8="],[3,"x",null]]}]}`},
			{"/db/query?associative&blob_array&level=linearizable", `["SELECT id, pic FROM f WHERE id < 3"]`,
				`{"results":[{"types":{"id":"integer","pic":"blob"},"rows":[{"id":1,"pic":[1,2,255]},{"id":2,"pic":[1,255]}]}]}`},
			{"/db/query?level=strong", `[["SELECT name FROM f WHERE id = ?", 99]]`, `{"results":[{"columns":["name"],"types":["text"]}]}`},
			{"/db/query", `["DELETE FROM f", "SELECT count(*) FROM f"]`, `{"results":[{"error":"this SQL is not allowed: writing to f here"},{"columns":["count(*)"],"types":["integer"],"values":[[3]]}]}`},
			{"/db/query?q=SELECT%20count(*)%20AS%20n%20FROM%20f", ``, `{"results":[{"columns":["n"],"types":["integer"],"values":[[3]]}]}`},
			{"/db/request", `["SELECT 9007199254740993 AS big", "INSERT INTO f(name) VALUES ('z')", "SELECT 1.5, x'00', NULL"]`,
				`{"results":[{"columns":["big"],"types":["integer"],"values":[[9007199254740993]]},{"last_insert_id":4,"rows_affected":1},{"columns":["1.5","x'00'","NULL"],"types":["real","blob",""],"values":[[1.5,"AA==",null]]}]}`},
			{"/db/request?associative", `["UPDATE f SET age = 1 WHERE id = 4", "WITH d AS (SELECT 1 AS a) SELECT a FROM d"]`,
				`{"results":[{"rows_affected":1,"rows":null},{"types":{"a":"integer"},"rows":[{"a":1}]}]}`},
			{"/db/request", `["WITH d AS (SELECT 4 AS a) DELETE FROM f WHERE id IN d"]`, `{"results":[{"rows_affected":1}]}`},
			{"/db/request", `["BEGIN"]`, `{"results":[{"error":"this SQL is not allowed: BEGIN: an Update is one transaction already"}]}`},
		} {
			status, header, got := p.call(at+one.path, one.body)
			if status != 200 || got != one.want {
				t.Fatalf("node %d, %s %s: %d\n got %s\nwant %s", i, one.path, one.body, status, got, one.want)
			}
			if header.Get(databases.HeaderIndex) == "" {
				t.Errorf("node %d, %s: no index", i, one.path)
			}
		}
	}
}

func TestAWriteIsReadAtOnceAtAnotherNodeByItsIndex(t *testing.T) {
	c := nodetest.Division(t, 3, nodetest.Databases())
	c.CreateTenant(0, "minzheng", "民政局")
	p := newDatabase(t, c, "minzheng", "notes")
	p.call(c.DatabasesURL(0)+"/db/execute", `["CREATE TABLE t(v)"]`)
	for n := range 20 {
		status, header, text := p.call(c.DatabasesURL(n%3)+"/db/execute", fmt.Sprintf(`[["INSERT INTO t VALUES (?)", %d]]`, n))
		if status != 200 {
			t.Fatal(status, text)
		}
		_, _, text = p.call(c.DatabasesURL((n+1)%3)+"/db/query?level=none", `["SELECT max(v) FROM t"]`, databases.HeaderIndex, header.Get(databases.HeaderIndex))
		if !strings.Contains(text, fmt.Sprintf(`"values":[[%d]]`, n)) {
			t.Fatalf("after write %d: %s", n, text)
		}
	}
}

func TestQueuedWritesAreCommittedWhenTheyAreAnswered(t *testing.T) {
	c := nodetest.Division(t, 3, nodetest.Databases())
	c.CreateTenant(0, "minzheng", "民政局")
	p := newDatabase(t, c, "minzheng", "notes")
	p.call(c.DatabasesURL(0)+"/db/execute", `["CREATE TABLE t(v)"]`)
	done := make(chan string, 60)
	for n := range cap(done) {
		go func() {
			_, _, text := p.call(c.DatabasesURL(n%3)+"/db/execute?queue&wait", fmt.Sprintf(`[["INSERT INTO t VALUES (?)", %d]]`, n))
			done <- text
		}()
	}
	for range cap(done) {
		var answer struct {
			Sequence int64 `json:"sequence_number"`
			Results  []any `json:"results"`
		}
		if text := <-done; json.Unmarshal([]byte(text), &answer) != nil || answer.Sequence == 0 {
			t.Errorf("answer %s", text)
		}
	}
	_, _, text := p.call(c.DatabasesURL(1)+"/db/query", `["SELECT count(*), count(DISTINCT v) FROM t"]`)
	if !strings.Contains(text, `[[60,60]]`) {
		t.Error(text)
	}
}

func TestManyDatabasesAreMadeAtOnce(t *testing.T) {
	c := nodetest.Division(t, 3, nodetest.Databases())
	c.CreateTenant(0, "minzheng", "民政局")
	admin := c.Admin(0)
	defer admin.Close()
	var out databases.Created
	for _, n := range []int{60, 70} { // The first sixty are there the second time.
		out = databases.Created{}
		if err := admin.Post(t.Context(), "/databases", databases.NewDatabases{Tenant: "minzheng", Name: "load", Count: n, Key: true}, &out); err != nil {
			t.Fatal(err)
		}
		if len(out.Databases) != n || len(out.Keys) != n {
			t.Fatalf("%d databases, %d keys", len(out.Databases), len(out.Keys))
		}
	}
	for _, k := range out.Keys[50:] {
		p := program{t, strings.Replace(string(k.Database), "/", ".", 1), k.Secret}
		c.Await("the database takes changes", func() bool { // Leaderships may still move.
			status, _, text := p.call(c.DatabasesURL(0)+"/db/execute", `["CREATE TABLE IF NOT EXISTS t(v)", "INSERT INTO t VALUES (1)"]`)
			return status == 200 && !strings.Contains(text, "error")
		})
	}
	out = databases.Created{}
	if err := admin.Post(t.Context(), "/databases", databases.NewDatabases{Tenant: "minzheng", Name: "load", First: 71, Count: 2}, &out); err != nil ||
		len(out.Databases) != 2 || out.Databases[1] != "minzheng/load72" {
		t.Errorf("some more: %v, %v", out, err)
	}
	if err := admin.Post(t.Context(), "/databases", databases.NewDatabases{Tenant: "minzheng", Name: "load1"}, nil); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("made twice: %v", err)
	}
}
