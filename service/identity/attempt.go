package identity

import (
	"encoding/hex"
	"fmt"
	"time"

	"tongban/replication"
	"tongban/service"
)

// Guessing is slowed down in two ways, both kept in the division database, so that they
// hold on all nodes together. Neither lets an attacker lock somebody else out:
//
//   - A pair of login and source that failed maxFailures times within failureWindow is
//     refused for lockFor. The source is the client's address, or, for a browser that
//     has signed in to this account before, its device cookie: an attacker has neither.
//   - A login that strangers (browsers that never signed in to it) fail at too often is
//     slowed for strangers: after freeStrangers failures within failureWindow each next
//     attempt must wait, twice as long each time up to maxWait. Known devices are not
//     slowed (OWASP, Slow Down Online Guessing Attacks with Device Cookies).
//
// An attempt counts from its start and is forgotten when it succeeds: a thousand attempts
// at the same moment are a thousand attempts. Refused attempts do not count, or else an
// attacker could keep a lock closed for ever.
const (
	maxFailures   = 5
	failureWindow = 15 * time.Minute
	lockFor       = 15 * time.Minute

	freeStrangers = 10
	maxWait       = time.Minute

	// keepAttempts covers a window that ends in a lock.
	keepAttempts = failureWindow + lockFor
)

// ErrTryLater is the refusal of an attempt that comes too early; Params["retry_after"] in
// seconds.
var ErrTryLater = service.Refuse(service.TooMany, "identity.try_later")

// attempt is one try to prove who one is.
type attempt struct {
	id     string // Random.
	who    []byte // Hash of the login.
	source string
	known  bool // The source is a device that has signed in to this account before.
}

// begin counts an attempt, or returns ErrTryLater and until when.
func begin(tx *service.Tx, a attempt) (until time.Time, err error) {
	if err := tx.Exec(`DELETE FROM identity_attempt WHERE at < ?`, tx.Now().Add(-keepAttempts)); err != nil {
		return until, err
	}
	until, err = lockedUntil(tx, a)
	if err != nil {
		return until, fmt.Errorf("read the attempts: %w", err)
	}
	if wait := until.Sub(tx.Now()); wait > 0 {
		return until, ErrTryLater.With("retry_after", int((wait+time.Second-1)/time.Second))
	}
	return until, tx.Exec(`INSERT INTO identity_attempt (id, who, source, known, at) VALUES (?, ?, ?, ?, ?)`,
		a.id, a.who, a.source, a.known, tx.Now())
}

// lockedUntil returns when the attempt may be made.
func lockedUntil(q service.Querier, a attempt) (time.Time, error) {
	pair, err := attemptTimes(q, `source = ?`, a.who, a.source)
	if err != nil {
		return time.Time{}, err
	}
	var until time.Time
	if len(pair) >= maxFailures && pair[0].Sub(pair[maxFailures-1]) <= failureWindow {
		until = pair[0].Add(lockFor)
	}
	if a.known {
		return until, nil
	}
	strangers, err := attemptTimes(q, `known = ?`, a.who, false)
	if err != nil {
		return time.Time{}, err
	}
	n := 0
	for n < len(strangers) && strangers[n].After(q.Now().Add(-failureWindow)) {
		n++
	}
	if n >= freeStrangers {
		if slow := strangers[0].Add(strangerWait(n)); slow.After(until) {
			until = slow
		}
	}
	return until, nil
}

// strangerWait is how long after the newest of n strangers' failures the next may try.
func strangerWait(n int) time.Duration {
	return min(maxWait, time.Second<<min(n-freeStrangers, 10))
}

// attemptTimes returns when attempts for the login were made, the newest first; as many
// as decide anything.
func attemptTimes(q service.Querier, cond string, who []byte, arg any) ([]time.Time, error) {
	rows, err := q.Query(`SELECT at FROM identity_attempt WHERE who = ? AND `+cond+` ORDER BY at DESC LIMIT 20`, who, arg)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(r *replication.Rows) (t time.Time, err error) { return t, r.Scan(&t) })
}

// firstOf reports whether a refusal until that time is the first one, and remembers it: of
// those that follow the audit says nothing, or a script that never stops would fill it.
func firstOf(tx *service.Tx, a attempt, until time.Time) (bool, error) {
	mark := hex.EncodeToString(digest("refused", string(a.who)+until.UTC().Format(time.RFC3339Nano)))
	n := 0
	if err := tx.QueryRow(`SELECT count(*) FROM identity_attempt WHERE id = ?`, mark).Scan(&n); err != nil || n > 0 {
		return false, err
	}
	// Of nobody's login, so that no attempt is counted by it.
	return true, tx.Exec(`INSERT INTO identity_attempt (id, who, source, known, at) VALUES (?, ?, '', 1, ?)`,
		mark, digest("refused", mark), tx.Now())
}

// succeed forgets the failures of the pair.
func succeed(tx *service.Tx, a attempt) error {
	return tx.Exec(`DELETE FROM identity_attempt WHERE who = ? AND source = ?`, a.who, a.source)
}

// collect reads all rows.
func collect[T any](rows *replication.Rows, scan func(*replication.Rows) (T, error)) ([]T, error) {
	defer rows.Close()
	var list []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}
