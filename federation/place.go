package federation

import (
	"fmt"

	"tongban/division"
	"tongban/service"
)

// Place is where a division is in the tree, without what proves it.
type Place struct {
	Ref, Parent division.Ref // Parent is zero for the anchor of the tree.
	Name        string
	Web         string // URL of its portal; empty: not said.
}

// ReadPlaces returns every division of the directory, itself too, in the order of their
// references. Cost: one row each; ReadDirectory also reads their certificates.
func ReadPlaces(q service.Querier) ([]Place, error) {
	rows, err := q.Query(`SELECT ref, parent, name, web FROM federation_directory ORDER BY ref`)
	if err != nil {
		return nil, fmt.Errorf("read the directory: %w", err)
	}
	defer rows.Close()
	var list []Place
	for rows.Next() {
		var p Place
		var ref, parent string
		if err := rows.Scan(&ref, &parent, &p.Name, &p.Web); err != nil {
			return nil, err
		}
		if err := p.Ref.UnmarshalText([]byte(ref)); err != nil {
			return nil, err
		}
		if err := p.Parent.UnmarshalText([]byte(parent)); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, rows.Err()
}
