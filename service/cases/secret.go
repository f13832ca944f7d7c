package cases

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"tongban/service"
)

// secretAlphabet is Crockford's base32: no I, L, O and U.
const secretAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// secretLength is 40 bits. With at most 150 guesses in a quarter of an hour at a number,
// somebody who tries for a year finds its secret with a chance of 1 in 200,000.
const secretLength = 8

var crockford = base32.NewEncoding(secretAlphabet).WithPadding(base32.NoPadding)

// newSecret returns a secret of a case. Call it outside of transactions.
func newSecret() string {
	var b [5]byte
	rand.Read(b[:])
	return crockford.EncodeToString(b[:])
}

// newToken returns what a browser shows to see a case again: 160 bits.
func newToken() string {
	var b [20]byte
	rand.Read(b[:])
	return crockford.EncodeToString(b[:])
}

// normalSecret returns the secret as it was meant: any case, full-width characters,
// spaces and dashes, O for 0, I and L for 1.
func normalSecret(text string) string {
	if len(text) > 100 {
		return ""
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case 'O':
			return '0'
		case 'I', 'L':
			return '1'
		case ' ', '-', '\t', '\u3000':
			return -1
		}
		return r
	}, strings.ToUpper(norm.NFKC.String(text)))
}

// secretHash is what is stored of a secret. A fast hash does for 40 random bits: who can
// read the database has the cases themselves, and guessing from outside is slowed down.
func secretHash(number, secret string) []byte {
	sum := sha256.Sum256([]byte("tongban case secret 1\x00" + number + "\x00" + secret))
	return sum[:]
}

func tokenHash(token string) []byte {
	sum := sha256.Sum256([]byte("tongban case visit 1\x00" + token))
	return sum[:]
}

// Guessing is slowed down per number, whether anybody has that number or not, in two ways:
// after freeGuesses wrong secrets of one source within guessWindow each next one of it must
// wait, twice as long each time up to maxGuessWait; and after freeOfAll of all sources
// together everybody must. So nobody keeps an applicant out with less than some thirty
// networks: one alone only ever slows itself. Refused guesses do not count.
const (
	freeGuesses  = 5
	freeOfAll    = 140
	guessWindow  = 15 * time.Minute
	maxGuessWait = time.Minute

	// visitLife is how long a browser sees a case after the secret was shown to it.
	visitLife = 30 * time.Minute
)

// Refusals of tracking.
var (
	ErrNoSuchCase = service.Refuse(service.NotFound, "cases.no_such_case")
	ErrSlowDown   = service.Refuse(service.TooMany, "cases.slow_down")
	ErrAskSecret  = service.Refuse(service.Forbidden, "cases.ask_secret")
)

// guess checks the secret of a number on the leader. The refusals ErrNoSuchCase and
// ErrSlowDown come back as a value: what they count must be committed. source is the
// client's network, id is random. Wrong
// secrets of real cases are audited; numbers that nobody has would let anybody fill the
// audit.
func guess(tx *service.Tx, number, secret, source string, id []byte, who service.Principal) (found held, refusal *service.Error, err error) {
	if err := tx.Exec(`DELETE FROM cases_guess WHERE at < ?`, tx.Now().Add(-guessWindow)); err != nil {
		return held{}, nil, err
	}
	all, own := tokenHash(number), tokenHash(number+"\x00"+source)
	wait, err := guessWait(tx, all, freeOfAll)
	if err != nil {
		return held{}, nil, err
	}
	ownWait, err := guessWait(tx, own, freeGuesses)
	if err != nil {
		return held{}, nil, err
	}
	if wait = max(wait, ownWait); wait > 0 {
		return held{}, ErrSlowDown.With("retry_after", int((wait+time.Second-1)/time.Second)), nil
	}
	nobody := held{secret: make([]byte, sha256.Size), number: number} // Compared all the same.
	h, err := readHeld(tx, number)
	known := err == nil
	switch {
	case errors.Is(err, service.ErrNotFound):
		h = nobody
	case err != nil:
		return held{}, nil, err
	}
	if subtle.ConstantTimeCompare(h.secret, secretHash(h.number, secret)) == 1 && known {
		return h, nil, nil
	}
	for i, whose := range [][]byte{all, own} {
		if err := tx.Exec(`INSERT INTO cases_guess (id, number, at) VALUES (?, ?, ?)`, append(id, byte(i)), whose, tx.Now()); err != nil {
			return held{}, nil, err
		}
	}
	err = nil
	if known {
		err = tx.Record(service.Event{What: "cases.track", Subject: number, Who: who, Refused: ErrNoSuchCase.Reason})
	}
	return held{}, ErrNoSuchCase, err
}

// guessWait returns how long the next guess must wait of those that are counted as whose,
// of which some are free.
func guessWait(q service.Querier, whose []byte, free int) (time.Duration, error) {
	var n int
	var last *time.Time
	err := q.QueryRow(`SELECT count(*), max(at) FROM cases_guess WHERE number = ? AND at >= ?`,
		whose, q.Now().Add(-guessWindow)).Scan(&n, &last)
	if err != nil || n < free || last == nil {
		return 0, err
	}
	pause := min(maxGuessWait, time.Second<<min(n-free, 10))
	return last.Add(pause).Sub(q.Now()), nil
}

// openVisit lets the browser with the token see the case for visitLife.
func openVisit(tx *service.Tx, id int64, token string) error {
	if err := tx.Exec(`DELETE FROM cases_visit WHERE until < ?`, tx.Now()); err != nil {
		return err
	}
	return tx.Exec(`INSERT OR REPLACE INTO cases_visit (token, case_id, until) VALUES (?, ?, ?)`,
		tokenHash(token), id, tx.Now().Add(visitLife))
}

// visits returns the case of the number if the browser with the token may see it, else
// ErrAskSecret: also when nobody has the number.
func visits(q service.Querier, token, number string) error {
	var n int
	err := q.QueryRow(`SELECT count(*) FROM cases_visit AS v JOIN cases_case AS c ON c.id = v.case_id
		WHERE v.token = ? AND c.number = ? AND v.until >= ?`, tokenHash(token), number, q.Now()).Scan(&n)
	if err == nil && n == 0 {
		return ErrAskSecret
	}
	return err
}
