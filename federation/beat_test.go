package federation

import (
	"testing"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// A restored parent scans its child anew: that a division is no longer silent may come
// before the entry of that division.
func TestTheEndOfASilenceIsTakenFromWhoToldOfIt(t *testing.T) {
	solo, err := replication.OpenSolo(t.TempDir(), divisionDatabase, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = solo.Close() }()
	db := service.NewDB(solo.DB, func(*service.Tx, service.Event) error { return nil })
	if err := service.Migrate(t.Context(), db, service.DivisionScope, []service.Definition{New(Options{}).Definition()}); err != nil {
		t.Fatal(err)
	}
	city, other := division.Ref{Level: division.City, Code: "511600"}, division.Ref{Level: division.City, Code: "511700"}
	county := division.Ref{Level: division.County, Code: "511602"}
	for _, one := range []struct {
		from division.Ref
		left int
	}{{other, 1}, {city, 0}} {
		var left int
		if err := db.Update(t.Context(), func(tx *service.Tx) error {
			if err := enterSilent(tx, county, tx.Now(), city.String()); err != nil {
				return err
			}
			if err := foldSilent(tx, one.from, []service.FeedRow{{Feed: feedSilent, Key: county.String()}}); err != nil {
				return err
			}
			return tx.QueryRow(`SELECT count(*) FROM federation_silent`).Scan(&left)
		}); err != nil {
			t.Fatal(err)
		}
		if left != one.left {
			t.Errorf("%s takes back what %s told: %d are silent, want %d", one.from, city, left, one.left)
		}
	}
}
