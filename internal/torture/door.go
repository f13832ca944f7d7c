package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"tongban/service/databases"
)

// errNothingDone: the node said, or it is certain, that the request changed nothing and
// will not. Any other error of a write leaves its outcome open.
var errNothingDone = errors.New("nothing was changed")

// overdue is what the door says of statements that took too long: they are rolled back.
const overdue = "execute timeout"

// maxReply bounds an answer, bytes: the last readings are whole tables.
const maxReply = 64 << 20

// statement is SQL with its parameters, as the door takes it.
type statement []any

func sql(text string, args ...any) statement { return append(statement{text}, args...) }

// result is one statement's part of an answer.
type result struct {
	Error    string  `json:"error"`
	Affected int64   `json:"rows_affected"`
	Values   [][]any `json:"values"` // Numbers are json.Number.
}

// reply is an answer of the door.
type reply struct {
	Results []result `json:"results"`
	Index   uint64   `json:"-"` // Where the database was: what WithIndex of package replication takes.
}

// sqlError is what SQLite said of a statement: the transaction is rolled back.
type sqlError string

// Error is SQLite's text.
func (e sqlError) Error() string { return string(e) }

// statusError is an answer that is none of the database.
type statusError struct {
	status  int
	retry   bool // It says when to come again.
	outcome string
	text    string
}

// Error has the status and what the node said.
func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.text) }

// Unwrap says what is certain of a write.
func (e *statusError) Unwrap() error {
	if e.outcome == "none" || e.status >= 400 && e.status < 500 {
		return errNothingDone
	}
	return nil
}

// door is the SQL door of one node with one database's key. Its methods may be called
// concurrently.
type door struct {
	node, base     string
	user, password string
	http           *http.Client
}

// execute runs statements in one transaction. A sqlError and whatever wraps
// errNothingDone are certain; after another error the outcome is open.
func (d *door) execute(ctx context.Context, statements ...statement) (reply, error) {
	return d.post(ctx, "/db/execute?transaction", 0, statements)
}

// query reads at a level of rqlite's; index > 0: not before the replica has applied it.
func (d *door) query(ctx context.Context, level string, index uint64, s statement) (reply, error) {
	return d.post(ctx, "/db/query?level="+level, index, []statement{s})
}

func (d *door) post(ctx context.Context, path string, index uint64, statements []statement) (out reply, err error) {
	body, err := json.Marshal(statements)
	if err != nil {
		return out, fmt.Errorf("encode a request: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.base+path, bytes.NewReader(body))
	if err != nil {
		return out, fmt.Errorf("make a request: %w", err)
	}
	r.SetBasicAuth(d.user, d.password)
	r.Header.Set("Content-Type", "application/json")
	if index > 0 {
		r.Header.Set(databases.HeaderIndex, strconv.FormatUint(index, 10))
	}
	response, err := d.http.Do(r)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return out, fmt.Errorf("%w: %w", errNothingDone, err)
		}
		return out, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
	if err != nil {
		return out, fmt.Errorf("read an answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return out, &statusError{response.StatusCode, response.Header.Get("Retry-After") != "", response.Header.Get(databases.HeaderOutcome),
			strings.TrimSpace(string(data[:min(len(data), 300)]))}
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&out); err != nil {
		return out, fmt.Errorf("read an answer: %w", err)
	}
	out.Index, _ = strconv.ParseUint(response.Header.Get(databases.HeaderIndex), 10, 64)
	for _, one := range out.Results {
		if one.Error == overdue {
			return out, fmt.Errorf("%w: %s", errNothingDone, one.Error)
		}
		if one.Error != "" {
			return out, sqlError(one.Error)
		}
	}
	return out, nil
}

// integer is a value of an answer as a number; NULL is 0.
func integer(v any) (int64, error) {
	switch v := v.(type) {
	case nil:
		return 0, nil
	case json.Number:
		return v.Int64()
	}
	return 0, fmt.Errorf("%v (%T) is no number", v, v)
}

// one is the only number of an answer; a missing row is 0.
func (r reply) one() (int64, error) {
	if len(r.Results) != 1 {
		return 0, fmt.Errorf("%d results for one query", len(r.Results))
	}
	if len(r.Results[0].Values) == 0 {
		return 0, nil
	}
	return integer(r.Results[0].Values[0][0])
}
