package cases

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"tongban/replication"
	"tongban/service"
)

// Event is one thing that happened to a case. Text may hold personal data.
type Event struct {
	Seq     int       `json:"seq"` // From 1.
	Action  Action    `json:"action"`
	From    State     `json:"from,omitempty"`
	To      State     `json:"to"`
	Who     Who       `json:"who"`
	Account string    `json:"account,omitempty"` // Empty: the applicant.
	Name    string    `json:"name,omitempty"`
	At      time.Time `json:"at"`
	Code    string    `json:"code,omitempty"`
	Text    string    `json:"text,omitempty"`
	Days    int       `json:"days,omitempty"`
	Content string    `json:"content,omitempty"` // Of the first event: hash of what was applied for.
	Prev    string    `json:"prev"`              // Hash of the event before.
	Hash    string    `json:"hash"`
}

// Lines returns the text line by line, as it was written.
func (e Event) Lines() []string {
	if e.Text == "" {
		return nil
	}
	return strings.Split(e.Text, "\n")
}

// hashName is the algorithm, so that another can come later.
const hashName = "sha256:"

// sum returns the hash of an event of a case: over its number and every field, each with
// its length before it.
func (e Event) sum(number string) string {
	h := sha256.New()
	for _, s := range []string{"tongban case event 1", e.Prev, number, fmt.Sprint(e.Seq), string(e.Action), string(e.From),
		string(e.To), string(e.Who), e.Account, e.Name, fmt.Sprint(e.At.UnixMicro()), e.Code, e.Text, fmt.Sprint(e.Days), e.Content} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	return hashName + hex.EncodeToString(h.Sum(nil))
}

// contentSum returns the hash of what a case was applied for: what no event changes.
func contentSum(c Case) (string, error) {
	data, err := json.Marshal(struct {
		Number, Item, ItemName     string
		Instant                    bool
		StatutoryDays, PromiseDays int
		Applicant                  Person
		Note                       string
		Materials                  []Material
	}{c.Number, c.Item, c.ItemName, c.Instant, c.StatutoryDays, c.PromiseDays, c.Applicant, c.Note, c.Materials})
	sum := sha256.Sum256(data)
	return hashName + hex.EncodeToString(sum[:]), err
}

// appendEvent writes the next event of the case, whose version becomes the event's
// number; the caller writes the case.
func appendEvent(tx *service.Tx, c *Case, e Event) error {
	if c.Version > 0 {
		err := tx.QueryRow(`SELECT hash FROM cases_event WHERE case_id = ? AND seq = ?`, c.ID, c.Version).Scan(&e.Prev)
		if err != nil {
			return fmt.Errorf("read the newest event of case %s: %w", c.Number, err)
		}
	}
	c.Version++
	e.Seq, e.At = c.Version, tx.Now()
	e.Hash = e.sum(c.Number)
	err := tx.Exec(`INSERT INTO cases_event (case_id, seq, action, from_state, to_state, who, account, name, at, code, text,
		days, content, prev, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		c.ID, e.Seq, string(e.Action), string(e.From), string(e.To), string(e.Who), e.Account, e.Name, e.At, e.Code, e.Text,
		e.Days, e.Content, e.Prev, e.Hash)
	if err != nil {
		return fmt.Errorf("write event %d of case %s: %w", e.Seq, c.Number, err)
	}
	return nil
}

const eventColumns = `seq, action, from_state, to_state, who, account, name, at, code, text, days, content, prev, hash`

func scanEvent(rows *replication.Rows) (e Event, err error) {
	return e, rows.Scan(&e.Seq, &e.Action, &e.From, &e.To, &e.Who, &e.Account, &e.Name, &e.At, &e.Code, &e.Text, &e.Days,
		&e.Content, &e.Prev, &e.Hash)
}

func readEvents(q service.Querier, id int64) ([]Event, error) {
	return collect(q, scanEvent, `SELECT `+eventColumns+` FROM cases_event WHERE case_id = ? ORDER BY seq`, id)
}

// checkChain returns what is wrong with the case's events, "" for nothing: each carries
// the hash of the one before, follows the table, and the last one says where the case
// stands.
func checkChain(c Case) string {
	prev, state := "", None
	for i, e := range c.Events {
		switch {
		case e.Seq != i+1 || e.Prev != prev:
			return "an event is missing or out of order"
		case e.Hash != e.sum(c.Number):
			return "an event was altered"
		case e.From != state || !possible(e.From, e.Action, e.To):
			return fmt.Sprintf("event %d cannot happen: %s by %s to %s", e.Seq, e.From, e.Action, e.To)
		}
		prev, state = e.Hash, e.To
	}
	switch {
	case len(c.Events) == 0:
		return "there is no first event"
	case state != c.State || len(c.Events) != c.Version:
		return "the state is not that of the newest event"
	}
	if sum, err := contentSum(c); err != nil || sum != c.Events[0].Content {
		return "what was applied for was altered"
	}
	return ""
}
