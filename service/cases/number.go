package cases

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"tongban/division/calendar"
	"tongban/service"
)

// numberAlphabet is that of unified social credit codes (GB 32100-2015, table 1): it has
// no I, O, S, V and Z, so that a person's O, I, S and Z can only mean 0, 1, 5 and 2.
const numberAlphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// Characters of a number without dashes: division 6, tenant 3, day 8, epoch 3, sequence
// of the day 5, check 1.
const (
	numberLength = 26
	maxSequence  = 99_999 // Cases a day and tenant.
	epochStart   = 17
	epochEnd     = 20
)

// Number is a receipt number, taken apart.
type Number struct {
	Division string    // Code of the division, 6 digits.
	Tenant   int       // Number of the tenant in the division, 1–999.
	Day      time.Time // Day of submission in Beijing, at its start.
	Epoch    string    // 3 characters of the database's epoch.
	Sequence int       // Of the day, 1–99999.
}

// String returns the number as it is printed and stored, such as
// 511602-012-20261124-000-00017-8.
func (n Number) String() string {
	body := fmt.Sprintf("%s%03d%s%s%05d", n.Division, n.Tenant, n.Day.In(calendar.Zone).Format("20060102"), n.Epoch, n.Sequence)
	return strings.Join([]string{body[:6], body[6:9], body[9:17], body[17:20], body[20:], string(checkOf(body))}, "-")
}

// checkOf returns the check character of the 25 others. The method is that of GB
// 32100-2015, annex A: Σ value·3^(i+1) ≡ 0 mod 31, the check character weighing 1. 31 is
// a prime and the powers of 3 up to the 29th differ, so that one wrong character and two
// swapped ones, wherever they stand, are always found.
func checkOf(body string) byte {
	sum, weight := 0, 3
	for i := range len(body) {
		sum += strings.IndexByte(numberAlphabet, body[i]) * weight
		weight = weight * 3 % 31
	}
	return numberAlphabet[(31-sum%31)%31]
}

// ErrBadNumber refuses what is no receipt number; a typing error is always found.
var ErrBadNumber = service.Refuse(service.Invalid, "cases.bad_number").Field("number", "cases.bad_number")

// ParseNumber reads a number as people type it: any case, full-width characters, spaces,
// other dashes or none, and letters taken for digits. It returns ErrBadNumber.
func ParseNumber(text string) (Number, error) {
	if len(text) > 200 { // Nobody types that; do not work on it.
		return Number{}, ErrBadNumber
	}
	body, ok := normalNumber(text)
	if !ok || checkOf(body[:numberLength-1]) != body[numberLength-1] {
		return Number{}, ErrBadNumber
	}
	day, err := time.ParseInLocation("20060102", body[9:epochStart], calendar.Zone)
	if err != nil {
		return Number{}, ErrBadNumber
	}
	n := Number{Division: body[:6], Day: day, Epoch: body[epochStart:epochEnd]}
	n.Tenant, _ = strconv.Atoi(body[6:9]) // Digits: normalNumber has seen to it.
	n.Sequence, _ = strconv.Atoi(body[epochEnd : numberLength-1])
	if n.Tenant == 0 || n.Sequence == 0 {
		return Number{}, ErrBadNumber
	}
	return n, nil
}

// normalNumber returns the 26 characters of a number; ok is false when it has not so many
// or one stands where it cannot.
func normalNumber(text string) (body string, ok bool) {
	out := make([]byte, 0, numberLength)
	for _, r := range strings.ToUpper(norm.NFKC.String(text)) {
		switch {
		case strings.ContainsRune(" \t\r\n\u3000-_‐‑‒–—―−－ー一·・.", r):
			continue
		case r >= 0x80 || len(out) == numberLength:
			return "", false
		}
		c, isDigit := meant(byte(r), len(out))
		letters := len(out) >= epochStart && len(out) < epochEnd || len(out) == numberLength-1
		if strings.IndexByte(numberAlphabet, c) < 0 || !letters && !isDigit {
			return "", false
		}
		out = append(out, c)
	}
	return string(out), len(out) == numberLength
}

// meant returns the character that a person meant at a place: letters that the alphabet
// lacks are digits everywhere, L and B only where nothing but digits can stand.
func meant(c byte, at int) (out byte, isDigit bool) {
	letters := at >= epochStart && at < epochEnd || at == numberLength-1
	switch c {
	case 'O':
		c = '0'
	case 'I':
		c = '1'
	case 'Z':
		c = '2'
	case 'S':
		c = '5'
	case 'L':
		if !letters {
			c = '1'
		}
	case 'B':
		if !letters {
			c = '8'
		}
	}
	return c, c >= '0' && c <= '9'
}

// epochMark returns the three characters of an epoch of service.Epoch: "000" for a
// database that was never restored, else one of 31³ − 1 others.
func epochMark(epoch string) string {
	if epoch == "0" {
		return "000"
	}
	sum := sha256.Sum256([]byte("tongban epoch " + epoch))
	n := int(binary.BigEndian.Uint32(sum[:4])%(31*31*31-1)) + 1
	return string([]byte{numberAlphabet[n/(31*31)], numberAlphabet[n/31%31], numberAlphabet[n%31]})
}

// sequenceName is the sequence of the day in service.Tx.Next.
func sequenceName(day time.Time) string {
	return sequencePrefix + day.In(calendar.Zone).Format("20060102")
}

const sequencePrefix = "cases."

// ErrDayFull refuses the hundred-thousandth application of a day.
var ErrDayFull = service.Refuse(service.Unprocessable, "cases.day_full")

// nextNumber takes the next number of today.
func nextNumber(tx *service.Tx, division string, tenant int) (Number, error) {
	n := Number{Division: division, Tenant: tenant, Day: calendar.StartOfDay(tx.Now())}
	epoch, err := service.Epoch(tx)
	if err != nil {
		return n, err
	}
	n.Epoch = epochMark(epoch)
	seq, err := tx.Next(sequenceName(n.Day))
	if err != nil {
		return n, err
	}
	if seq > maxSequence {
		return n, ErrDayFull
	}
	n.Sequence = int(seq)
	return n, nil
}
