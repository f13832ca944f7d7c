package simulate_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/internal/simulate"
	"tongban/replication"
	"tongban/service"
)

// tell publishes one row of figures as it is given.
func (s story) tell(at division.Ref, key string, format int, payload string) {
	s.t.Helper()
	s.must(s.Divisions[at].DB.Update(s.t.Context(), func(tx *service.Tx) error {
		return tx.PublishTo(service.Up, simulate.FeedFigures, key, format, []byte(payload))
	}))
}

// list returns the first column of a query, a text, at a division.
func (s story) list(at division.Ref, sql string) (out []string) {
	s.t.Helper()
	s.must(s.Divisions[at].DB.View(s.t.Context(), replication.Local, func(v *service.View) error {
		rows, err := v.Query(sql)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				return err
			}
			out = append(out, text)
		}
		return rows.Err()
	}))
	return out
}

const (
	waitingRows = `SELECT state || ' ' || key FROM federation_row WHERE state <> 'folded' ORDER BY 1`
	valueRows   = `SELECT key || '=' || n FROM figures_value WHERE feed = 'figures.values' ORDER BY 1`
)

func TestAMalformedRowIsParkedAndTheFeedGoesOn(t *testing.T) {
	run(t, 1, branch, simulate.Chance{}, func(s story) {
		key := district.String() + "|"
		s.tell(district, key+"a", 1, `{"n":1}`)
		s.tell(district, key+"b", 1, `no JSON`)
		s.tell(district, key+"c", 1, `{"n":3}`)
		s.tell(district, hangzhou.String()+"|stolen", 1, `{"n":9}`)
		<-time.After(5 * time.Minute)
		if got := s.list(guangan, waitingRows); !slices.Equal(got, []string{"parked city/330100|stolen", "parked county/511602|b"}) {
			t.Errorf("the city has parked %q", got)
		}
		for _, at := range []division.Ref{guangan, sichuan, nation} {
			if got := s.list(at, valueRows); !slices.Equal(got, []string{key + "a=1", key + "c=3"}) {
				t.Errorf("%s has %q", at, got)
			}
		}
		reasons := strings.Join(s.list(guangan, `SELECT reason FROM federation_row WHERE state = 'parked'`), "\n")
		if !strings.Contains(reasons, "invalid character") || !strings.Contains(reasons, "not below it") {
			t.Errorf("the reasons are %q", reasons)
		}
		s.tell(district, key+"b", 1, `{"n":2}`) // Its owner mends it,
		s.tell(district, hangzhou.String()+"|stolen", 1, ``)
		s.settle()
	})
}

func TestARowOfANewerFormatIsKeptRelayedAndFoldedAfterTheUpgrade(t *testing.T) {
	run(t, 1, branch, simulate.Chance{}, func(s story) {
		key := district.String() + "|new"
		s.tell(district, key, 2, `{"n":7}`)
		<-time.After(2 * time.Minute)
		for _, at := range []division.Ref{guangan, sichuan, nation} {
			if got := s.list(at, waitingRows); !slices.Equal(got, []string{"newer " + key}) {
				t.Errorf("%s keeps %q", at, got)
			}
			if got := s.list(at, valueRows); len(got) != 0 {
				t.Errorf("%s has folded %q", at, got)
			}
		}
		newer := simulate.Figures()
		newer.Feeds[0].Format = 2
		s.Upgrade([]service.Definition{newer})
		s.settle()
		if got := s.list(nation, valueRows); !slices.Equal(got, []string{key + "=7"}) {
			t.Errorf("after the upgrade the nation has %q", got)
		}
	})
}

// A silent division is known above with its age, and nothing else is called silent.
func TestACutLineIsKnownAboveWithItsAge(t *testing.T) {
	run(t, 1, tree, simulate.Chance{}, func(s story) {
		<-time.After(5 * time.Minute)
		cut := time.Now()
		s.Wire.Cut(guangan, true)
		<-time.After(time.Hour)
		s.must(s.Divisions[nation].DB.View(s.t.Context(), replication.Local, func(v *service.View) error {
			fresh, err := federation.ReadFreshness(v, nation, time.Now())
			if err != nil {
				return err
			}
			for _, p := range tree[1:] {
				f := fresh[p.Ref]
				behind := p.Ref == guangan || p.Parent == guangan
				age := time.Since(f.AsOf)
				if f.Silent != behind || !f.Known || behind && (f.AsOf.After(cut) || cut.Sub(f.AsOf) > 90*time.Second) || !behind && age > 90*time.Second {
					t.Errorf("%s: %+v, %v old", p.Ref, f, age)
				}
			}
			return nil
		}))
		s.settle()
	})
}

// The last of a disk is for people: rows of neighbours wait at home until there is room.
func TestAFullDiskTakesNoRowsOfNeighbours(t *testing.T) {
	run(t, 1, branch, simulate.Chance{}, func(s story) {
		<-time.After(2 * time.Minute)
		s.Divisions[guangan].Full.Store(true)
		s.tell(district, district.String()+"|a", 1, `{"n":1}`)
		<-time.After(time.Hour)
		if got := s.list(guangan, valueRows); len(got) > 0 {
			t.Errorf("the full city has taken %q", got)
		}
		if got := s.list(district, `SELECT reason FROM federation_sent`); !slices.Equal(got, []string{"federation.full"}) {
			t.Errorf("the county knows %q", got)
		}
		s.Divisions[guangan].Full.Store(false)
		s.settle()
		if got := s.list(district, `SELECT reason FROM federation_sent`); !slices.Equal(got, []string{""}) {
			t.Errorf("the county still knows %q", got)
		}
	})
}
