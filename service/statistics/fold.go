package statistics

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// fold takes what a tenant has counted.
func (s *statistics) fold(tx *service.Tx, from service.Tenant, rows []service.FeedRow) error {
	b := s.newBatch(tx)
	for _, r := range rows {
		in, err := readHome(r, from.Slug, s.self)
		if err != nil {
			return err
		}
		if err := b.put(in); err != nil {
			return fmt.Errorf("fold statistics %s of %s: %w", r.Key, from.Slug, err)
		}
	}
	return b.close()
}

// foldUp takes what a child sends of itself and of divisions below it. A row of any other
// division is an error: nobody writes the figures of another branch.
func (s *statistics) foldUp(tx *service.Tx, from division.Ref, rows []service.FeedRow) error {
	b := s.newBatch(tx)
	b.strict = true
	for _, r := range rows {
		in, err := readUp(r, from)
		if err != nil {
			return err
		}
		// What is gone is only what this child has sent, also of a division that has left it.
		if len(in.measures) > 0 {
			if err := b.checkBranch(in.division, from); err != nil {
				return err
			}
		}
		if err := b.put(in); err != nil {
			return fmt.Errorf("fold statistics %s of %s: %w", r.Key, from, err)
		}
	}
	return b.close()
}

// errForeign: a row of a division that is not in the sender's branch.
var errForeign = errors.New("statistics of a division that is not below the sender")

// checkBranch returns errForeign unless d is the child itself or below it.
func (b *batch) checkBranch(d, child division.Ref) error {
	if b.branch[d] {
		return nil
	}
	ok, err := b.below(b.tx, child, d)
	if err != nil {
		return fmt.Errorf("read where %s is: %w", d, err)
	}
	if !ok {
		return fmt.Errorf("%w: %s is not below %s, as far as the directory knows", errForeign, d, child)
	}
	b.branch[d] = true
	return nil
}

// batch is what one fold changes: daily rows are written as they come, sums and what goes
// up once for all of them.
type batch struct {
	*statistics
	tx     *service.Tx
	branch map[division.Ref]bool // Known to be below the child that sends.
	totals map[totalKey]int64
	items  map[itemKey]int64
	groups []group // In order of first change.
	seen   map[group]bool
	strict bool                  // The rows are another division's, whose limits are looked at.
	grown  map[division.Ref]bool // With rows of a day and code that were not there.
}

type (
	totalKey struct{ day, division, measure string }
	itemKey  struct{ division, code, owner, measure string }
	group    struct {
		division   division.Ref
		day, basic string
	}
)

func (s *statistics) newBatch(tx *service.Tx) *batch {
	return &batch{statistics: s, tx: tx, branch: map[division.Ref]bool{}, totals: map[totalKey]int64{},
		items: map[itemKey]int64{}, seen: map[group]bool{}, grown: map[division.Ref]bool{}}
}

// values are the figures of a row, and the code under which they are shown and sent.
type values struct {
	basic    string
	kind     kind
	measures map[service.Measure]int64 // Empty: there is no row.
}

// put replaces what the source had said by the row.
func (b *batch) put(r row) error {
	old, err := b.read(r)
	if err != nil {
		return err
	}
	now := values{measures: r.measures}
	if len(r.measures) > 0 {
		if err := r.checkDay(b.tx.Now()); err != nil && b.strict {
			return err
		}
		now.basic, now.kind = b.codeOf(r)
	}
	if now.basic == old.basic && now.kind == old.kind && maps.Equal(now.measures, old.measures) {
		return nil // Sent again.
	}
	if b.strict && len(r.measures) > 0 {
		if err := b.replace(r, now.basic); err != nil {
			return err
		}
	}
	if err := b.write(r, now); err != nil {
		return err
	}
	b.add(r, old, -1)
	b.add(r, now, 1)
	if b.strict && len(old.measures) < len(now.measures) {
		b.grown[r.division] = true
	}
	return nil
}

// replace takes away what another child has told of the row's division, day and code: the
// division has moved, and what its new side tells takes the place of all that the former did.
func (b *batch) replace(r row, basic string) error {
	rows, err := b.tx.Query(`SELECT code, source, kind, measures FROM statistics_daily INDEXED BY statistics_daily_basic
		WHERE division = ? AND day = ? AND basic = ? AND source <> ?`, r.division.String(), r.day, basic, r.source)
	if err != nil {
		return err
	}
	defer rows.Close()
	type told struct {
		row
		values
	}
	var list []told
	for rows.Next() {
		t := told{row{division: r.division, day: r.day}, values{basic: basic}}
		var text string
		if err := rows.Scan(&t.code, &t.source, (*string)(&t.values.kind), &text); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(text), &t.values.measures); err != nil {
			return err
		}
		list = append(list, t)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, t := range list {
		if err := b.write(t.row, values{}); err != nil {
			return err
		}
		b.add(t.row, t.values, -1)
	}
	return nil
}

// codeOf returns the code under which this division shows and sends a row, and its kind.
func (s *statistics) codeOf(r row) (string, kind) {
	if r.kind != byItem || s.self.Level >= division.County {
		return r.code, r.kind
	}
	if basic, ok := s.BasicCode(r.code); ok {
		return basic, byBasic
	}
	return r.code, byOwn
}

// read returns what the source had said.
func (b *batch) read(r row) (values, error) {
	var v values
	var text string
	err := b.tx.QueryRow(`SELECT basic, kind, measures FROM statistics_daily WHERE division = ? AND day = ? AND code = ? AND source = ?`,
		r.division.String(), r.day, r.code, r.source).Scan(&v.basic, (*string)(&v.kind), &text)
	if errors.Is(err, replication.ErrNoRows) {
		return values{}, nil
	}
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal([]byte(text), &v.measures)
}

func (b *batch) write(r row, now values) error {
	if len(now.measures) == 0 {
		return b.tx.Exec(`DELETE FROM statistics_daily WHERE division = ? AND day = ? AND code = ? AND source = ?`,
			r.division.String(), r.day, r.code, r.source)
	}
	text, err := json.Marshal(now.measures)
	if err != nil {
		return err
	}
	return b.tx.Exec(`INSERT OR REPLACE INTO statistics_daily (division, day, code, source, basic, kind, measures)
		VALUES (?, ?, ?, ?, ?, ?, ?)`, r.division.String(), r.day, r.code, r.source, now.basic, string(now.kind), string(text))
}

// add notes that the sums change by the values.
func (b *batch) add(r row, v values, sign int64) {
	if len(v.measures) == 0 {
		return
	}
	ref, owner := r.division.String(), ""
	if v.kind == byOwn {
		owner = ref
	}
	for m, n := range v.measures {
		n *= sign
		for _, d := range [...]string{ref, ""} {
			b.totals[totalKey{r.day, d, string(m)}] += n
			b.totals[totalKey{"", d, string(m)}] += n
			b.items[itemKey{d, v.basic, owner, string(m)}] += n
		}
	}
	if g := (group{r.division, r.day, v.basic}); !b.seen[g] {
		b.seen[g] = true
		b.groups = append(b.groups, g)
	}
}

// close writes the sums and publishes what changed upward.
func (b *batch) close() error {
	var totals, items [][]any
	for k, n := range b.totals {
		if n != 0 {
			totals = append(totals, []any{k.day, k.division, k.measure, n})
		}
	}
	for k, n := range b.items {
		if n != 0 {
			items = append(items, []any{k.division, k.code, k.owner, k.measure, n})
		}
	}
	if err := b.change(`INSERT INTO statistics_total (day, division, measure, value)
		SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?) WHERE true
		ON CONFLICT (day, division, measure) DO UPDATE SET value = value + excluded.value`, totals); err != nil {
		return fmt.Errorf("write the sums of days: %w", err)
	}
	if err := b.change(`INSERT INTO statistics_item (division, code, owner, measure, value)
		SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?) WHERE true
		ON CONFLICT (division, code, owner, measure) DO UPDATE SET value = value + excluded.value`, items); err != nil {
		return fmt.Errorf("write the sums of items: %w", err)
	}
	for d := range b.grown {
		if err := b.checkSize(d); err != nil {
			return err
		}
	}
	if b.self.Level == division.National {
		return nil // Nobody is above.
	}
	for _, g := range b.groups {
		if err := b.publish(g); err != nil {
			return fmt.Errorf("send the statistics of %s on %s up: %w", g.division, g.day, err)
		}
	}
	return nil
}

// checkSize refuses codes and measures without end: every page reads all of them.
func (b *batch) checkSize(d division.Ref) error {
	var codes, measures int
	if err := b.tx.QueryRow(`SELECT (SELECT count(DISTINCT code) FROM statistics_item WHERE division = ?1 AND value <> 0),
		(SELECT count(*) FROM statistics_total WHERE day = '' AND division = ?1)`, d.String()).Scan(&codes, &measures); err != nil {
		return fmt.Errorf("count the codes of %s: %w", d, err)
	}
	if codes > maxCodes || measures > maxMeasures {
		return fmt.Errorf("%w: %s would have %d codes and %d measures; at most %d and %d are kept", errMalformed, d, codes, measures, maxCodes, maxMeasures)
	}
	return nil
}

// change runs a statement on all rows at once: one statement is a hundredth of hundred.
func (b *batch) change(statement string, rows [][]any) error {
	if len(rows) == 0 {
		return nil
	}
	text, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	return b.tx.Exec(statement, string(text))
}

// publish sends the absolute values of a division, day and code up: the sum of the items
// that share the code.
func (b *batch) publish(g group) error {
	rows, err := b.tx.Query(`SELECT kind, measures FROM statistics_daily INDEXED BY statistics_daily_basic
		WHERE division = ? AND day = ? AND basic = ?`, // Else SQLite reads the whole day by the primary key.
		g.division.String(), g.day, g.basic)
	if err != nil {
		return err
	}
	defer rows.Close()
	out := sent{Measures: map[service.Measure]int64{}}
	for rows.Next() {
		var text string
		if err := rows.Scan((*string)(&out.Kind), &text); err != nil {
			return err
		}
		var one map[service.Measure]int64
		if err := json.Unmarshal([]byte(text), &one); err != nil {
			return err
		}
		for m, n := range one {
			out.Measures[m] += n
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	var payload []byte
	if len(out.Measures) > 0 {
		if payload, err = json.Marshal(out); err != nil {
			return err
		}
	}
	return b.tx.PublishTo(service.Up, service.CountFeed, upKey(g.division, g.day, g.basic), service.CountFormat, payload)
}
