package federation

import (
	"encoding/json"
	"errors"
	"fmt"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// ErrNoDivision: the directory does not know the division.
var ErrNoDivision = errors.New("federation: the directory does not know this division")

// ReadDirectory returns every division of the tree that this one knows, itself too, in the
// order of their references.
func ReadDirectory(q service.Querier) ([]Entry, error) {
	rows, err := q.Query(`SELECT row FROM federation_directory ORDER BY ref`)
	if err != nil {
		return nil, fmt.Errorf("read the directory: %w", err)
	}
	defer rows.Close()
	var list []Entry
	for rows.Next() {
		e, err := scanEntry(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, rows.Err()
}

// ReadEntry returns a division's entry, or ErrNoDivision.
func ReadEntry(q service.Querier, ref division.Ref) (Entry, error) {
	e, err := scanEntry(q.QueryRow(`SELECT row FROM federation_directory WHERE ref = ?`, ref.String()))
	if errors.Is(err, replication.ErrNoRows) {
		return e, fmt.Errorf("%w: %s", ErrNoDivision, ref)
	}
	return e, err
}

func scanEntry(row scanner) (Entry, error) {
	var e Entry
	var text string
	if err := row.Scan(&text); err != nil {
		return e, err
	}
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return e, fmt.Errorf("read an entry of the directory: %w", err)
	}
	return e, nil
}

// ReadParents returns the parent of every division that this one knows; the anchor has none.
// It costs a tenth of ReadDirectory, which reads certificates too.
func ReadParents(q service.Querier) (map[division.Ref]division.Ref, error) {
	parents, _, err := readTree(q)
	return parents, err
}

// NextHop returns the neighbour over which a division is reached: the child that it is
// below of, else the parent. It returns ErrLeft, or ErrNoDivision when neither can be, and when to is
// this division itself.
func NextHop(q service.Querier, self, to division.Ref) (division.Ref, error) {
	if to == self {
		return division.Ref{}, fmt.Errorf("%w: %s is this one", ErrNoDivision, to)
	}
	switch left, err := HasLeft(q, self, to); {
	case err != nil:
		return division.Ref{}, err
	case left:
		return division.Ref{}, fmt.Errorf("%w: %s", ErrLeft, to)
	}
	switch _, err := ReadChild(q, to); {
	case err == nil:
		return to, nil
	case !errors.Is(err, ErrNoChild):
		return division.Ref{}, err
	}
	via, known, err := viaOf(q, to)
	if err != nil {
		return division.Ref{}, err
	}
	if known && !via.IsZero() {
		return via, nil
	}
	parent, ok, err := ReadParent(q)
	if err != nil {
		return division.Ref{}, err
	}
	if !ok {
		return division.Ref{}, fmt.Errorf("%w: %s", ErrNoDivision, to)
	}
	return parent.Ref, nil // It may know what this one does not know yet.
}

// Below reports whether ref is the neighbour child itself or a division below it, as far
// as the directory knows: of no other may that child tell.
func Below(q service.Querier, child, ref division.Ref) (bool, error) {
	if ref == child {
		return true, nil
	}
	via, known, err := viaOf(q, ref)
	return known && via == child, err
}

// viaOf returns the neighbour that told of a division; zero: it is this one.
func viaOf(q service.Querier, ref division.Ref) (via division.Ref, known bool, err error) {
	var text string
	err = q.QueryRow(`SELECT via FROM federation_directory WHERE ref = ?`, ref.String()).Scan(&text)
	switch {
	case errors.Is(err, replication.ErrNoRows):
		return via, false, nil
	case err != nil || text == "":
		return via, err == nil, err
	}
	via, err = division.ParseRef(text)
	return via, err == nil, err
}
