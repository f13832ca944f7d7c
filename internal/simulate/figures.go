package simulate

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing/fstest"

	"tongban/division"
	"tongban/federation"
	"tongban/replication"
	"tongban/service"
)

// Feeds of Figures.
const (
	FeedFigures = "figures.values" // Up. Key: "<reference>|<name>".
	FeedRules   = "figures.rules"  // Down. Likewise.
)

const figuresTables = `
CREATE TABLE figures_value (feed TEXT NOT NULL, key TEXT NOT NULL, n INTEGER NOT NULL, via TEXT NOT NULL, PRIMARY KEY (feed, key)) WITHOUT ROWID;
CREATE TABLE figures_total (feed TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE figures_fold (neighbour TEXT NOT NULL, feed TEXT NOT NULL, key TEXT NOT NULL,
	mark INTEGER NOT NULL, version INTEGER NOT NULL, doubled INTEGER NOT NULL, PRIMARY KEY (neighbour, feed, key)) WITHOUT ROWID;
`

// value is the payload of both feeds.
type value struct {
	N int64 `json:"n"`
}

// Figures is a service that does what a real one does with rows: it stores them, keeps a
// sum by differences beside the absolute values, and tells them on. It notes each version
// that is folded a second time.
func Figures() service.Definition {
	return service.Definition{
		Name:       "figures",
		Migrations: fstest.MapFS{"division/0001_figures.sql": {Data: []byte(figuresTables)}},
		Feeds: []service.Feed{
			{Name: FeedFigures, FoldUp: func(tx *service.Tx, from division.Ref, rows []service.FeedRow) error {
				return foldValues(tx, service.Up, from, rows)
			}},
			{Name: FeedRules, FoldDown: func(tx *service.Tx, from division.Ref, rows []service.FeedRow) error {
				return foldValues(tx, service.Down, from, rows)
			}},
		},
	}
}

func foldValues(tx *service.Tx, s service.Stream, from division.Ref, rows []service.FeedRow) error {
	var mark int64
	if err := tx.QueryRow(`SELECT mark FROM federation_received WHERE neighbour = ?`, from.String()).Scan(&mark); err != nil {
		return err
	}
	known := map[string]bool{}
	for _, r := range rows {
		source, _, _ := strings.Cut(r.Key, "|")
		if s == service.Up && len(r.Payload) > 0 && !known[source] {
			ref, err := division.ParseRef(source)
			if err != nil {
				return err
			}
			below, err := federation.Below(tx, from, ref)
			if err != nil {
				return err
			}
			if !below {
				return fmt.Errorf("%s tells figures of %s, which is not below it", from, ref)
			}
			known[source] = true
		}
		if len(r.Payload) == 0 { // Of another neighbour by now: the division has moved.
			var other int
			if err := tx.QueryRow(`SELECT count(*) FROM figures_value WHERE feed = ? AND key = ? AND via <> ?`,
				r.Feed, r.Key, from.String()).Scan(&other); err != nil {
				return err
			}
			if other > 0 {
				continue
			}
		}
		if err := foldValue(tx, from, mark, r); err != nil {
			return err
		}
		if err := tx.PublishTo(s, r.Feed, r.Key, r.Format, r.Payload); err != nil {
			return err
		}
	}
	return nil
}

func foldValue(tx *service.Tx, from division.Ref, mark int64, r service.FeedRow) error {
	var v value
	if len(r.Payload) > 0 {
		if err := json.Unmarshal(r.Payload, &v); err != nil {
			return err
		}
	}
	if err := noteFold(tx, from, mark, r); err != nil {
		return err
	}
	if err := tx.Exec(`INSERT INTO figures_total (feed, n) VALUES (?1, ?3 - coalesce((SELECT n FROM figures_value WHERE feed = ?1 AND key = ?2), 0))
		ON CONFLICT (feed) DO UPDATE SET n = n + excluded.n`, r.Feed, r.Key, v.N); err != nil {
		return err
	}
	if len(r.Payload) == 0 {
		return tx.Exec(`DELETE FROM figures_value WHERE feed = ? AND key = ?`, r.Feed, r.Key)
	}
	return tx.Exec(`INSERT OR REPLACE INTO figures_value (feed, key, n, via) VALUES (?, ?, ?, ?)`, r.Feed, r.Key, v.N, from.String())
}

// noteFold counts a version of a key that one scan of the neighbour's rows brings twice.
func noteFold(tx *service.Tx, from division.Ref, mark int64, r service.FeedRow) error {
	return tx.Exec(`INSERT INTO figures_fold (neighbour, feed, key, mark, version, doubled) VALUES (?, ?, ?, ?, ?, 0)
		ON CONFLICT (neighbour, feed, key) DO UPDATE SET doubled = doubled + (mark = excluded.mark AND version >= excluded.version),
			mark = excluded.mark, version = excluded.version`, from.String(), r.Feed, r.Key, mark, r.Version)
}

// Publish changes rows of a division's own in one update: rows keys out of keys, in both
// feeds, one of ten of them removed.
func (d *Division) Publish(ctx context.Context, rows, keys int) error {
	return d.DB.Update(ctx, func(tx *service.Tx) error {
		for range rows {
			feed, s := FeedFigures, service.Up
			if d.w.Rand(8) == 0 || d.Parent.IsZero() {
				feed, s = FeedRules, service.Down
			}
			key := fmt.Sprintf("%s|%d", d.Ref, d.w.Rand(keys))
			var payload []byte
			if d.w.Rand(10) > 0 {
				payload = fmt.Appendf(nil, `{"n":%d}`, 1+d.w.Rand(1000))
			}
			if err := tx.PublishTo(s, feed, key, 1, payload); err != nil {
				return err
			}
		}
		return nil
	})
}

// Wrong returns what is not as it must be once all is told: rows that another division
// lacks or has too many, versions that were folded twice, sums that differ from what they
// sum, rows that are parked, neighbours that are held. Empty: nothing is.
func (w *World) Wrong(ctx context.Context) ([]string, error) {
	var wrong []string
	own, got := map[division.Ref]map[string]string{}, map[division.Ref]map[string]string{}
	for ref, d := range w.Divisions {
		if err := d.DB.View(ctx, replication.Local, func(v *service.View) (err error) {
			if own[ref], err = readMap(v, `SELECT feed || '|' || key, json_extract(payload, '$.n') FROM service_feed
				WHERE key LIKE ? || '|%' AND length(payload) > 0 AND feed LIKE 'figures.%' ORDER BY 1`, ref.String()); err != nil {
				return err
			}
			if got[ref], err = readMap(v, `SELECT feed || '|' || key, n FROM figures_value ORDER BY 1`); err != nil {
				return err
			}
			found, err := w.inspect(v)
			for _, one := range found {
				wrong = append(wrong, ref.String()+": "+one)
			}
			return err
		}); err != nil {
			return nil, err
		}
	}
	for ref := range w.Divisions {
		want := map[string]string{}
		for other := range w.Divisions {
			for k, v := range own[other] {
				up := strings.HasPrefix(k, FeedFigures)
				if other != ref && (up && w.below(other, ref) || !up && w.below(ref, other)) {
					want[k] = v
				}
			}
		}
		wrong = append(wrong, differences(ref, want, got[ref])...)
	}
	return wrong, nil
}

// inspect looks for what is wrong within one database.
func (w *World) inspect(v *service.View) (wrong []string, err error) {
	for what, sql := range map[string]string{
		"versions folded twice":     `SELECT coalesce(sum(doubled), 0) FROM figures_fold`,
		"sums that are wrong":       `SELECT count(*) FROM figures_total t WHERE n <> (SELECT coalesce(sum(n), 0) FROM figures_value v WHERE v.feed = t.feed)`,
		"rows that wait":            `SELECT count(*) FROM federation_row WHERE state <> 'folded'`,
		"scans that have not ended": `SELECT count(*) FROM federation_received WHERE scan`,
		"silent divisions":          `SELECT count(*) FROM federation_silent`,
		"former neighbours": `SELECT (SELECT count(*) FROM federation_received
			WHERE neighbour NOT IN (SELECT ref FROM federation_child UNION SELECT ref FROM federation_parent))
			+ (SELECT count(*) FROM federation_row WHERE neighbour NOT IN (SELECT neighbour FROM federation_received))`,
		"held neighbours": `SELECT (SELECT count(*) FROM federation_child WHERE state <> 'active') + (SELECT count(*) FROM federation_received WHERE held)`,
	} {
		var n int
		if err := v.QueryRow(sql).Scan(&n); err != nil {
			return nil, err
		}
		if n > 0 {
			wrong = append(wrong, fmt.Sprintf("%d %s", n, what))
		}
	}
	var known int
	if err := v.QueryRow(`SELECT count(*) FROM federation_directory`).Scan(&known); err != nil {
		return nil, err
	}
	if known != len(w.Tree) {
		wrong = append(wrong, fmt.Sprintf("it knows %d divisions of %d", known, len(w.Tree)))
	}
	return wrong, nil
}

// below tells whether a is below b.
func (w *World) below(a, b division.Ref) bool {
	for d := w.Divisions[a]; d != nil; d = w.Divisions[d.Parent] {
		if d.Parent == b {
			return true
		}
	}
	return false
}

func readMap(v *service.View, sql string, args ...any) (map[string]string, error) {
	rows, err := v.Query(sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]string{}
	for rows.Next() {
		var k string
		var n int64
		if err := rows.Scan(&k, &n); err != nil {
			return nil, err
		}
		out[k] = fmt.Sprint(n)
	}
	return out, rows.Err()
}

// maxShown bounds the differences that are listed of one division.
const maxShown = 5

func differences(at division.Ref, want, got map[string]string) (out []string) {
	for k, v := range want {
		if got[k] != v {
			out = append(out, fmt.Sprintf("%s: %s is %q, its source says %s", at, k, got[k], v))
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			out = append(out, fmt.Sprintf("%s: %s is %s, its source has no such row", at, k, v))
		}
	}
	if len(out) > maxShown {
		out = append(out[:maxShown], fmt.Sprintf("%s: and %d more", at, len(out)-maxShown))
	}
	return out
}
