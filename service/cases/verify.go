package cases

import (
	"errors"

	"tongban/replication"
	"tongban/service"
)

// Report is what Verify found.
type Report struct {
	Cases    int     `json:"cases"`
	Events   int     `json:"events"`
	Receipts int     `json:"receipts"` // Receipt numbers that were given out.
	Faults   []Fault `json:"faults"`   // At most maxFaults.
}

// Fault is something that cannot be.
type Fault struct {
	Number string `json:"number,omitempty"` // Receipt number; empty: of the database.
	What   string `json:"what"`
}

// OK reports whether nothing is wrong.
func (r Report) OK() bool { return len(r.Faults) == 0 }

// maxFaults bounds a report about a damaged database.
const maxFaults = 100

func (r *Report) fault(number, what string) {
	if len(r.Faults) < maxFaults {
		r.Faults = append(r.Faults, Fault{number, what})
	}
}

// Verify walks the cases of a tenant's database: every case has a chain of events from
// its submission to its state along the table, of which no event and nothing that was
// applied for was altered; and there are as many cases as receipt numbers were given out.
// The error is that of reading. Cost: reads every case and event.
func Verify(q service.Querier) (Report, error) {
	r := Report{Faults: []Fault{}}
	var numbers []string
	if err := Receipts(q, func(number string) error {
		numbers = append(numbers, number)
		return nil
	}); err != nil {
		return r, err
	}
	r.Cases = len(numbers)
	for _, number := range numbers {
		c, err := ReadCase(q, number)
		if errors.Is(err, ErrBadNumber) {
			r.fault(number, "this is no receipt number")
			continue
		}
		if err != nil {
			return r, err
		}
		r.Events += len(c.Events)
		if what := checkChain(c); what != "" {
			r.fault(number, what)
		}
	}
	if err := r.count(q); err != nil {
		return r, err
	}
	return r, nil
}

// count compares cases with what the sequences have given out, and events with cases.
func (r *Report) count(q service.Querier) error {
	err := each(q, func(rows *replication.Rows) error {
		var n int
		if err := rows.Scan(&n); err != nil {
			return err
		}
		r.Receipts += n
		return nil
	}, `SELECT last FROM service_sequence WHERE name GLOB 'cases.[0-9]*'`)
	if err != nil {
		return err
	}
	var lodged int
	if err := q.QueryRow(`SELECT count(*) FROM cases_lodged`).Scan(&lodged); err != nil {
		return err
	}
	if r.Receipts -= lodged; r.Receipts != r.Cases { // Lodged cases have numbers of the same sequence.
		r.fault("", "there are not as many cases as receipt numbers were given out")
	}
	var strays int
	err = q.QueryRow(`SELECT count(*) FROM cases_event WHERE case_id NOT IN (SELECT id FROM cases_case)`).Scan(&strays)
	if err == nil && strays > 0 {
		r.fault("", "there are events of cases that do not exist")
	}
	return err
}
