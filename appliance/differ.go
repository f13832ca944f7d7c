package appliance

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tongban/replication"
)

// differing says in which tables two files differ.
func differing(a, b string) string {
	left, err := tableSums(a)
	if err != nil {
		return err.Error()
	}
	right, err := tableSums(b)
	if err != nil {
		return err.Error()
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(left)) {
		if left[name] != right[name] {
			names = append(names, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(right)) {
		if _, ok := left[name]; !ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "in the schema or a full-text index"
	}
	return "in " + strings.Join(names, ", ")
}

func tableSums(path string) (map[string][32]byte, error) {
	f, err := replication.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := tables(f)
	if err != nil {
		return nil, err
	}
	sums := map[string][32]byte{}
	for _, name := range names {
		if sums[name], err = tableSum(f, name); err != nil {
			return nil, fmt.Errorf("read table %s: %w", name, err)
		}
	}
	return sums, nil
}

// tableSum is a hash over a table's rows whatever their order: the sum of the rows' hashes.
func tableSum(f *replication.File, name string) (total [32]byte, err error) {
	rows, err := f.Query(`SELECT * FROM ` + quoteName(name))
	if err != nil {
		return total, err
	}
	defer rows.Close()
	values := make([]any, len(rows.Columns()))
	into := make([]any, len(values))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return total, err
		}
		h := sha256.New()
		for _, v := range values {
			text := fmt.Sprintf("%T %v", v, v)
			fmt.Fprintf(h, "%d:%s", len(text), text)
		}
		carry := 0
		for i, b := range h.Sum(nil) {
			carry += int(total[i]) + int(b)
			total[i], carry = byte(carry), carry>>8
		}
	}
	return total, rows.Err()
}
