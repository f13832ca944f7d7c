package simulate_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"tongban/division"
	"tongban/internal/simulate"
	"tongban/service"
)

// family is a city with two counties and what is above.
var family = tree[:5]

// told publishes one row of any feed upwards.
func (s story) told(at division.Ref, feed, key string, format int, payload string) {
	s.t.Helper()
	s.must(s.Divisions[at].DB.Update(s.t.Context(), func(tx *service.Tx) error {
		return tx.PublishTo(service.Up, feed, key, format, []byte(payload))
	}))
}

const upRows = `SELECT feed || ' ' || key || ' ' || cast(payload AS TEXT) FROM service_feed
	WHERE stream = 'up' AND feed NOT LIKE 'federation.%' AND length(payload) > 0 ORDER BY 1`

// A program that sends rows on under other keys than it got them, as statistics does with
// the codes of the basic catalog, takes back what it relayed while it did not know them.
func TestARowThatWasRelayedIsNotCountedBesideWhatItBecomes(t *testing.T) {
	run(t, 1, branch, simulate.Chance{}, func(s story) {
		s.tell(district, district.String()+"|new", 2, `{"n":7}`)
		<-time.After(2 * time.Minute)
		newer := simulate.Figures()
		fold := newer.Feeds[0].FoldUp
		newer.Feeds[0].Format = 2
		newer.Feeds[0].FoldUp = func(tx *service.Tx, from division.Ref, rows []service.FeedRow) error {
			rows = slices.Clone(rows)
			for i := range rows {
				name, _, _ := strings.Cut(rows[i].Key, "|")
				rows[i].Key = name + "|basic"
			}
			return fold(tx, from, rows)
		}
		s.Upgrade([]service.Definition{newer})
		<-time.After(5 * time.Minute)
		for _, at := range []division.Ref{guangan, sichuan} {
			if got, want := s.list(at, upRows), []string{simulate.FeedFigures + ` county/511602|basic {"n":7}`}; !slices.Equal(got, want) {
				t.Errorf("%s tells %q, want %q", at, got, want)
			}
		}
	})
}

// A county that goes back to an older program, or takes the row back, leaves nothing above.
func TestANewerRowThatIsReplacedByOneThatIsKnown(t *testing.T) {
	run(t, 1, branch, simulate.Chance{}, func(s story) {
		key := district.String() + "|"
		s.tell(district, key+"gone", 2, `{"n":7}`)
		s.tell(district, key+"older", 2, `{"n":7}`)
		s.tell(district, key+"wrong", 2, `{"n":7}`)
		<-time.After(2 * time.Minute)
		s.tell(district, key+"gone", 2, ``)
		s.tell(district, key+"older", 1, `{"n":8}`)
		s.tell(district, key+"wrong", 1, `no JSON`)
		<-time.After(2 * time.Minute)
		if got, want := s.list(guangan, upRows), []string{simulate.FeedFigures + ` county/511602|older {"n":8}`}; !slices.Equal(got, want) {
			t.Errorf("the city tells %q, want %q", got, want)
		}
		if got := s.list(nation, waitingRows); len(got) > 0 {
			t.Errorf("at the nation wait %q", got)
		}
		s.tell(district, key+"wrong", 1, ``)
		s.settle()
	})
}

// Rows that this program does not know are told on all the same, so that whose they are is
// seen by their keys alone.
func TestAChildCannotRelayRowsOfAnother(t *testing.T) {
	run(t, 1, family, simulate.Chance{}, func(s story) {
		<-time.After(5 * time.Minute)
		s.told(district, "later.things", "|a", 1, "mine")
		s.told(qianfeng, "later.things", "|a", 1, "mine too")
		s.told(district, "later.things", district.String()+"|b", 1, "good")
		s.told(qianfeng, simulate.FeedFigures, guangan.String()+"|c", 2, "the city's")
		s.told(qianfeng, "later.things", "no name|d", 1, "nobody's")
		<-time.After(5 * time.Minute)
		s.told(qianfeng, "later.things", district.String()+"|b", 1, "bad")
		<-time.After(5 * time.Minute)
		s.told(qianfeng, "later.things", district.String()+"|b", 1, "")
		<-time.After(5 * time.Minute)
		want := []string{"later.things county/511602|a mine", "later.things county/511602|b good", "later.things county/511603|a mine too"}
		for _, at := range []division.Ref{guangan, sichuan} {
			if got := s.list(at, upRows); !slices.Equal(got, want) {
				t.Errorf("%s tells %q, want %q", at, got, want)
			}
		}
	})
}
