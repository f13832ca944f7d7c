package federation

import (
	"errors"
	"fmt"

	"tongban/replication"
	"tongban/service"
)

// EnterAsked keeps the token with which this division asked to be enrolled by a file, until
// the reply comes: it proves that the reply is the parent's. Those of long ago are
// forgotten. id is the token's.
func EnterAsked(tx *service.Tx, id, token string) error {
	if err := tx.Exec(`DELETE FROM federation_asked WHERE asked < ?`, tx.Now().Add(-2*keepToken)); err != nil {
		return fmt.Errorf("forget old requests for enrolment: %w", err)
	}
	return tx.Exec(`INSERT OR REPLACE INTO federation_asked (id, token, asked) VALUES (?, ?, ?)`, id, token, tx.Now())
}

// ReadAsked returns the token with the id by which this division asked, or ErrTokenUnknown.
func ReadAsked(q service.Querier, id string) (token string, err error) {
	err = q.QueryRow(`SELECT token FROM federation_asked WHERE id = ?`, id).Scan(&token)
	if errors.Is(err, replication.ErrNoRows) {
		return "", ErrTokenUnknown
	}
	return token, err
}
