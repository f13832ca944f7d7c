package federation

import (
	"errors"
	"fmt"
	"time"

	"tongban/replication"
	"tongban/service"
)

// Approval is the policy by which divisions become children.
type Approval string

// Policies.
const (
	Automatic Approval = "automatic" // Whoever has a token does.
	ByAdmin   Approval = "approve"   // An administrator lets each in, by the fingerprint of its key.
)

// ReadApproval returns the policy, Automatic unless another was set.
func ReadApproval(q service.Querier) (Approval, error) {
	a := Automatic
	err := q.QueryRow(`SELECT approval FROM federation_approval WHERE id = 1`).Scan((*string)(&a))
	if errors.Is(err, replication.ErrNoRows) {
		return Automatic, nil
	}
	return a, err
}

// SetApproval sets the policy. Who waits already goes on waiting.
func SetApproval(tx *service.Tx, a Approval) error {
	return tx.Exec(`INSERT OR REPLACE INTO federation_approval (id, approval) VALUES (1, ?)`, string(a))
}

// Waits reports whether somebody came with the token and was neither approved nor answered.
func (t Token) Waits() bool { return !t.Asked.IsZero() && t.Approved.IsZero() && t.Spent.IsZero() }

// AskToken notes who came with the token and waits for approval; from then on the token is
// good for him alone.
func AskToken(tx *service.Tx, id string, asker []byte, print string) error {
	return changeToken(tx, `UPDATE federation_token SET asked = ?, asker = ?, print = ? WHERE id = ? AND asked IS NULL AND spent IS NULL`,
		tx.Now(), asker, print, id)
}

// ApproveToken lets in who waits with the token; it can be used until the time at least,
// because he may have waited past its end.
func ApproveToken(tx *service.Tx, id string, until time.Time) error {
	return changeToken(tx, `UPDATE federation_token SET approved = ?, expires = max(expires, ?) WHERE id = ? AND asked IS NOT NULL AND spent IS NULL`,
		tx.Now(), until, id)
}

// DropToken makes a token that was not used good for nobody.
func DropToken(tx *service.Tx, id string) error {
	return changeToken(tx, `DELETE FROM federation_token WHERE id = ? AND spent IS NULL`, id)
}

func changeToken(tx *service.Tx, sql string, args ...any) error {
	done, err := tx.ExecResult(sql, args...)
	if err != nil {
		return fmt.Errorf("change an enrolment token: %w", err)
	}
	if done.RowsAffected == 0 {
		return ErrTokenUnknown
	}
	return nil
}

// ReadWaiting returns the tokens with which somebody waits for approval, the one that came
// first first. They wait for a month after the token has expired.
func ReadWaiting(q service.Querier) ([]Token, error) {
	return readTokens(q, `asked IS NOT NULL AND approved IS NULL AND spent IS NULL AND expires > ? ORDER BY asked, id`, q.Now().Add(-keepToken))
}
