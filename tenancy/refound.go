package tenancy

import (
	"encoding/json"
	"fmt"

	"tongban/replication"
	"tongban/service"
)

// ReadNames returns the name of every node that the division has or ever had, by name.
// Certificates that were issued to them may still be valid.
func ReadNames(q service.Querier) ([]replication.NodeID, error) {
	rows, err := q.Query(`SELECT id FROM tenancy_node ORDER BY id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []replication.NodeID
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		list = append(list, replication.NodeID(id))
	}
	return list, rows.Err()
}

// ReadDatabases returns the id of every tenant's database, by id. The division database
// is not among them.
func ReadDatabases(q service.Querier) ([]replication.DatabaseID, error) {
	rows, err := q.Query(`SELECT id FROM tenancy_database ORDER BY id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []replication.DatabaseID
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		list = append(list, replication.DatabaseID(id))
	}
	return list, rows.Err()
}

// Refound makes the directory of a restored division: self is its only node and founds
// every database, and no join token is left. The nodes from before stay listed as removed,
// because their certificates are still valid: such a box is refused when it comes back.
// The name must be new: ErrNodeTaken.
func Refound(tx *service.Tx, self Node) error {
	for _, sql := range []string{`UPDATE tenancy_node SET state = 'removed'`, `DELETE FROM tenancy_token`} {
		if err := tx.Exec(sql); err != nil {
			return fmt.Errorf("make the directory anew: %w", err)
		}
	}
	if err := AddNode(tx, self); err != nil {
		return err
	}
	founders, err := json.Marshal([]replication.NodeID{self.ID})
	if err != nil {
		return err
	}
	return tx.Exec(`UPDATE tenancy_database SET founders = ?`, string(founders))
}
