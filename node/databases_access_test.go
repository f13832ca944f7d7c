package node_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"tongban/node/nodetest"
	"tongban/service/databases"
)

// twoDatabases starts a division with databases of two departments.
func twoDatabases(t *testing.T, nodes int) (*nodetest.Cluster, program, program) {
	t.Helper()
	c := nodetest.Division(t, nodes, nodetest.Databases())
	c.CreateTenant(0, "minzheng", "民政局")
	c.CreateTenant(0, "gongan", "公安局")
	one, other := newDatabase(t, c, "minzheng", "notes"), newDatabase(t, c, "gongan", "notes")
	for _, p := range []program{one, other} {
		if status, _, text := p.call(c.DatabasesURL(0)+"/db/execute", `["CREATE TABLE t(v)", "INSERT INTO t VALUES (1)"]`); status != 200 || strings.Contains(text, "error") {
			t.Fatal(status, text)
		}
	}
	return c, one, other
}

func TestNobodyLearnsAnythingWithoutAKeyOfTheDatabase(t *testing.T) {
	c, one, other := twoDatabases(t, 1)
	at := c.DatabasesURL(0)
	_, refusal, want := program{t, "nobody.nothing", "tbk_" + strings.Repeat("a", 32)}.call(at+"/db/query", `["SELECT 1"]`)
	for name, p := range map[string]program{
		"no key":                          {t, "", ""},
		"a wrong key":                     {t, one.user, "tbk_" + strings.Repeat("b", 32)},
		"no key's form":                   {t, one.user, "secret"},
		"the key of another department":   {t, one.user, other.key},
		"a database that is not there":    {t, "minzheng.other", one.key},
		"a department that is not there":  {t, "nobody.notes", one.key},
		"the main database":               {t, "minzheng.main", one.key},
		"the division's database":         {t, "_division.main", one.key},
		"the key in capitals":             {t, one.user, strings.ToUpper(one.key)},
		"a user without a database":       {t, "minzheng", one.key},
		"a user that goes up":             {t, "minzheng/../gongan.notes", one.key},
		"a key with something at its end": {t, one.user, one.key + "x"},
	} {
		for _, path := range []string{"/db/execute", "/db/query", "/db/request", "/db/query?level=none", "/db/execute?queue", "/status", "/nodes"} {
			body := `["SELECT * FROM t"]`
			if path == "/status" || path == "/nodes" {
				body = ""
			}
			status, header, text := p.call(at+path, body)
			if status != http.StatusUnauthorized || text != want || header.Get("WWW-Authenticate") != refusal.Get("WWW-Authenticate") || header.Get(databases.HeaderIndex) != "" {
				t.Errorf("%s, %s: %d %s", name, path, status, text)
			}
		}
	}
	if refusal.Get("WWW-Authenticate") == "" {
		t.Error("a 401 does not say how to authenticate")
	}
	if _, _, text := other.call(at+"/db/query", `["SELECT count(*) FROM t"]`); !strings.Contains(text, "[[1]]") {
		t.Errorf("the other department's rows: %s", text)
	}
	for _, p := range []program{{t, strings.Replace(one.user, ".", "/", 1), one.key}, one} {
		if status, _, text := p.call(at+"/db/query", `["SELECT 1"]`); status != 200 {
			t.Errorf("user %s: %d %s", p.user, status, text)
		}
	}
}

func TestAKeyThatOnlyReadsChangesNothing(t *testing.T) {
	c, one, _ := twoDatabases(t, 3)
	admin := c.Admin(0)
	defer admin.Close()
	var k databases.Key
	if err := admin.Post(t.Context(), "/databases/keys", databases.NewKey{Database: "minzheng/notes", Name: "report", ReadOnly: true}, &k); err != nil {
		t.Fatal(err)
	}
	reader := program{t, one.user, k.Secret}
	for i := range 3 {
		at := c.DatabasesURL(i)
		c.Await("the key is known at every node", func() bool {
			status, _, _ := reader.call(at+"/db/query?level=none", `["SELECT 1"]`)
			return status == 200
		})
		for _, path := range []string{"/db/execute", "/db/execute?queue&wait", "/db/execute?transaction"} {
			if status, _, text := reader.call(at+path, `["INSERT INTO t VALUES (2)"]`); status != http.StatusForbidden || text != "this key only reads\n" {
				t.Errorf("%s: %d %s", path, status, text)
			}
		}
		for _, sql := range []string{"INSERT INTO t VALUES (2)", "INSERT INTO t VALUES (2) RETURNING v", "WITH d AS (SELECT 1) DELETE FROM t",
			"/* SELECT */ DELETE FROM t", "DROP TABLE t", "CREATE TABLE u(v)", "PRAGMA user_version = 5", "PRAGMA writable_schema = 1", "ATTACH 'x' AS y",
			"REPLACE INTO t VALUES (1)", "UPDATE t SET v = 9", "VACUUM", "BEGIN IMMEDIATE", "EXPLAIN DELETE FROM t; DELETE FROM t", "SELECT 1; DELETE FROM t"} {
			for _, path := range []string{"/db/query", "/db/request", "/db/query?level=none", "/db/request?level=none", "/db/request?transaction"} {
				status, _, text := reader.call(at+path, `["`+sql+`"]`)
				if status != 200 || !strings.HasPrefix(text, `{"results":[{"error":`) {
					t.Errorf("node %d, %s %s: %d %s", i, path, sql, status, text)
				}
			}
		}
		if status, _, text := reader.call(at+"/db/request", `["SELECT v FROM t"]`); status != 200 || !strings.Contains(text, "[[1]]") {
			t.Errorf("what it may read: %d %s", status, text)
		}
	}
	if _, _, text := one.call(c.DatabasesURL(0)+"/db/query", `["SELECT count(*), max(v) FROM t", "SELECT count(*) FROM sqlite_schema"]`); !strings.Contains(text, "[[1,1]]") || !strings.Contains(text, "[[2]]") { // The other table is the replica's own.
		t.Errorf("afterwards: %s", text)
	}
}

func TestARevokedKeyOpensNothingAtAnyNode(t *testing.T) {
	c, one, other := twoDatabases(t, 3)
	for i := range 3 { // It is remembered everywhere.
		if status, _, text := one.call(c.DatabasesURL(i)+"/db/query?level=none", `["SELECT 1"]`); status != 200 {
			t.Fatal(status, text)
		}
	}
	admin := c.Admin(1)
	defer admin.Close()
	var list []databases.Key
	if err := admin.Get(t.Context(), "/databases/keys?database=minzheng/notes", &list); err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if err := admin.Post(t.Context(), "/databases/keys/"+list[0].ID+"/revoke", struct{}{}, nil); err != nil {
		t.Fatal(err)
	}
	revoked := time.Now()
	for i := range 3 {
		c.Await("the key is refused", func() bool {
			status, _, _ := one.call(c.DatabasesURL(i)+"/db/query?level=none", `["SELECT 1"]`)
			return status == http.StatusUnauthorized
		})
		if status, _, text := other.call(c.DatabasesURL(i)+"/db/query", `["SELECT 1"]`); status != 200 {
			t.Errorf("another key: %d %s", status, text)
		}
	}
	t.Logf("refused everywhere after %v", time.Since(revoked))
	if err := admin.Post(t.Context(), "/databases/keys/"+list[0].ID+"/revoke", struct{}{}, nil); err == nil || !strings.Contains(err.Error(), "in force") {
		t.Errorf("revoked twice: %v", err)
	}
	var audit struct {
		Rows []struct {
			What    string `json:"what"`
			Subject string `json:"subject"`
		} `json:"rows"`
	}
	if err := admin.Get(t.Context(), "/audit?what=databases.key_revoked", &audit); err != nil || len(audit.Rows) != 1 || audit.Rows[0].Subject != "minzheng/notes" {
		t.Errorf("the audit: %+v, %v", audit, err)
	}
}

func TestAMinorityAnswersSoonThatItCannot(t *testing.T) {
	c, one, _ := twoDatabases(t, 3)
	leader := c.Leader(0, "minzheng/notes")
	left := (leader + 1) % 3
	for i := range 3 {
		if i != left {
			c.Stop(i)
		}
	}
	for path, body := range map[string]string{"/db/execute": `["INSERT INTO t VALUES (2)"]`, "/db/query": `["SELECT 1"]`,
		"/db/query?level=linearizable": `["SELECT 1"]`, "/db/request": `["INSERT INTO t VALUES (3)"]`, "/db/execute?queue&wait": `["INSERT INTO t VALUES (4)"]`} {
		began := time.Now()
		status, header, text := one.call(c.DatabasesURL(left)+path, body)
		if took := time.Since(began); took > 4*time.Second { // Two, on a machine that does nothing else.
			t.Errorf("%s took %v", path, took)
		}
		// The one that is left may just have been handed the leadership: then nobody knows.
		outcome := header.Get(databases.HeaderOutcome)
		unknown := outcome == "unknown" && !strings.Contains(path, "query")
		if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || outcome != "none" && !unknown {
			t.Errorf("%s: %d %v %s", path, status, header, text)
		}
	}
	if status, _, text := one.call(c.DatabasesURL(left)+"/db/query?level=none", `["SELECT count(*) FROM t"]`); status != 200 || !strings.Contains(text, "[[1]]") {
		t.Errorf("what this node has can still be read: %d %s", status, text)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	c, one, _ := twoDatabases(t, 1)
	at := c.DatabasesURL(0)
	for _, r := range []struct {
		name, path, body string
		status           int
		want             string
	}{
		{"no JSON", "/db/execute", `["INSERT`, 400, "invalid JSON body\n"},
		{"no array", "/db/execute", `{"a": 1}`, 400, "invalid request\n"},
		{"no statements", "/db/execute", `[]`, 400, "no statements\n"},
		{"an object within a statement", "/db/execute", `[["SELECT ?", [[1]]]]`, 400, "unsupported type\n"},
		{"a level that is none", "/db/query?level=some", `["SELECT 1"]`, 400, "level must be none, weak, linearizable or strong\n"},
		{"a timeout that is none", "/db/query?timeout=soon", `["SELECT 1"]`, 400, "timeout is not a valid duration\n"},
		{"too many statements", "/db/execute", "[" + strings.Repeat(`"SELECT 1",`, 10000) + `"SELECT 1"]`, 400, "too many statements in one request\n"},
		{"a body that is too large", "/db/execute", `["` + strings.Repeat("x", 9<<20) + `"]`, 413, "the body is larger than 8 MiB; divide it\n"},
		{"a read that never ends", "/db/query?db_timeout=300ms", `["WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c"]`, 200, `{"results":[{"error":"query timeout"}]}`},
		{"a write that never ends", "/db/execute?db_timeout=300ms", `["INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c"]`, 200, `{"results":[{"error":"execute timeout"}]}`},
		{"an answer without end", "/db/query", `["WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c"]`, 200, `{"results":[{"error":"the answer has too many rows; use LIMIT"}]}`},
		{"another path", "/db/backup", `x`, 404, ""},
		{"another method", "/db/execute", ``, 405, ""},
		{"a query without one", "/db/query", ``, 400, "query parameter not set\n"},
		{"SQL as text", "/db/query", "SELECT 1", 400, "invalid request\n"},
	} {
		status, _, text := one.call(at+r.path, r.body)
		if status != r.status || r.want != "" && text != r.want {
			t.Errorf("%s: %d %.200s", r.name, status, text)
		}
	}
	if status, _, text := one.call(at+"/db/query", "SELECT 1 AS a", "Content-Type", "text/plain"); status != 200 || text != `{"results":[{"columns":["a"],"types":["integer"],"values":[[1]]}]}` {
		t.Errorf("SQL as text, and said so: %d %s", status, text)
	}
	if status, _, text := one.call(at+"/db/query?pretty&timings", `["SELECT 1 AS a"]`); status != 200 || !strings.Contains(text, "\n    \"results\": [\n") || strings.Count(text, `"time": `) != 2 {
		t.Errorf("pretty: %d %s", status, text)
	}
	if status, _, text := (program{t, "", ""}).call(at+"/readyz", ""); status != 200 || !strings.Contains(text, "[+]leader ok") {
		t.Errorf("readyz: %d %s", status, text)
	}
	if status, _, text := one.call(at+"/status", ""); status != 200 || !strings.Contains(text, `"leader":{"addr":"n1","node_id":"n1"}`) {
		t.Errorf("status: %d %s", status, text)
	}
}
