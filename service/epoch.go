package service

import "fmt"

// Renew gives a restored database a new epoch. Cursors are forgotten: they count the
// feeds of databases that have a new epoch too, and are folded anew.
func Renew(tx *Tx, epoch string) error {
	if err := tx.Exec(`INSERT OR REPLACE INTO service_meta (key, value) VALUES ('epoch', ?)`, epoch); err != nil {
		return fmt.Errorf("set the epoch: %w", err)
	}
	if err := tx.Exec(`DELETE FROM service_cursor`); err != nil {
		return fmt.Errorf("forget the cursors: %w", err)
	}
	return nil
}
