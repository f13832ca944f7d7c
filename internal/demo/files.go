package demo

import (
	"fmt"
	"path/filepath"
	"slices"

	"tongban/replication"
	"tongban/service/cases"
	"tongban/tenancy"
)

// fileOf is the SQLite file of a replica in a data folder.
func fileOf(data string, id replication.DatabaseID) string {
	return filepath.Join(data, "db", filepath.FromSlash(string(id)), "state.db")
}

// databasesOf lists the databases in the data folder of a stopped node, in order.
func databasesOf(data string) ([]replication.DatabaseID, error) {
	paths, err := filepath.Glob(filepath.Join(data, "db", "*", "*", "state.db"))
	if err != nil {
		return nil, err
	}
	var list []replication.DatabaseID
	for _, p := range paths {
		rel, err := filepath.Rel(filepath.Join(data, "db"), filepath.Dir(p))
		if err != nil {
			return nil, err
		}
		list = append(list, replication.DatabaseID(filepath.ToSlash(rel)))
	}
	slices.Sort(list)
	return list, nil
}

// withFile reads one replica of a stopped node.
func withFile(data string, id replication.DatabaseID, fn func(f *replication.File) error) (err error) {
	f, err := replication.OpenFile(fileOf(data, id))
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	if err := fn(f); err != nil {
		return fmt.Errorf("read %s in %s: %w", id, data, err)
	}
	return nil
}

// state is where a replica of a stopped node stands.
type state struct {
	at  replication.Index
	sum [32]byte
}

// statesOf reads every replica of a stopped node whole.
func statesOf(data string) (map[replication.DatabaseID]state, error) {
	list, err := databasesOf(data)
	if err != nil {
		return nil, err
	}
	out := map[replication.DatabaseID]state{}
	for _, id := range list {
		if err := withFile(data, id, func(f *replication.File) error {
			sum, err := f.Checksum()
			out[id] = state{f.Applied(), sum}
			return err
		}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// found is what the files of one stopped node have of a run's cases.
type found struct {
	numbers map[string]int // Cases by number.
	markers map[string]int // Cases by the applicant's marker.
}

// casesOf reads all cases of a stopped node.
func casesOf(data string) (found, error) {
	out := found{numbers: map[string]int{}, markers: map[string]int{}}
	list, err := databasesOf(data)
	if err != nil {
		return out, err
	}
	for _, id := range list {
		if id == tenancy.DivisionDatabase {
			continue
		}
		if err := withFile(data, id, func(f *replication.File) error {
			var numbers []string
			if err := cases.Receipts(f, func(number string) error { numbers = append(numbers, number); return nil }); err != nil {
				return err
			}
			for _, number := range numbers {
				c, err := cases.ReadCase(f, number)
				if err != nil {
					return err
				}
				out.numbers[number]++
				out.markers[markerOf(c.Applicant.Name)]++
			}
			return nil
		}); err != nil {
			return out, err
		}
	}
	return out, nil
}

// has reports whether the receipt's case is there, once, and is that applicant's.
func (f found) has(r Receipt) bool { return f.numbers[r.Number] == 1 && f.markers[r.Marker] >= 1 }

// doubled counts the cases too many: of applicants who have more than one, and of numbers
// that were given twice.
func (f found) doubled() int {
	n := 0
	for _, counts := range []map[string]int{f.numbers, f.markers} {
		for _, c := range counts {
			n += max(0, c-1)
		}
	}
	return n
}
