package identity

import (
	"fmt"

	"tongban/service"
)

// EndAllSessions ends every session of the division: after a restore nobody can say which
// of them were ended since the backup.
func EndAllSessions(tx *service.Tx) error {
	if err := tx.Exec(`DELETE FROM identity_session`); err != nil {
		return fmt.Errorf("end all sessions: %w", err)
	}
	return nil
}
