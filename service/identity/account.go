package identity

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"tongban/replication"
	"tongban/service"
)

// States of an account.
const (
	Invited  = "invited"  // Its owner has not activated it yet.
	Active   = "active"   //
	Disabled = "disabled" //
)

// Account is a member of staff as administrators see it.
type Account struct {
	Login   string          `json:"login"` // Its id, too: it never changes and is never given again.
	Name    string          `json:"name"`
	State   string          `json:"state"`
	Grants  []service.Grant `json:"grants"`
	Created time.Time       `json:"created"`

	password  string
	totp      []byte
	totpStep  int64
	code      []byte
	codeUntil *time.Time
}

const (
	maxName   = 60  // characters
	maxGrants = 100 // of one account
	// codeLife is how long an activation code can be used.
	codeLife = 72 * time.Hour
)

// loginPattern keeps logins typable on every keyboard and free of look-alikes.
var loginPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{2,39}$`)

// reserved are logins that the audit or an address could take for something else.
var reserved = []string{"new", "anonymous", "operator", "system", "worker"}

// Refusals.
var (
	ErrLoginTaken = service.Refuse(service.Conflict, "identity.login_taken").Field("login", "identity.login_taken")
	ErrOwn        = service.Refuse(service.Conflict, "identity.own_account")
	ErrDisabled   = service.Refuse(service.Conflict, "identity.is_disabled")
	ErrNotDone    = service.Refuse(service.Conflict, "identity.nothing_to_do")
)

// normalLogin is how a login is stored and compared.
func normalLogin(s string) string { return strings.ToLower(norm.NFKC.String(strings.TrimSpace(s))) }

// checkAccount returns what is wrong with a new account's fields.
func checkAccount(login, name string) *service.Error {
	wrong := service.ErrInvalid
	if !loginPattern.MatchString(login) || slices.Contains(reserved, login) {
		wrong = wrong.Field("login", "identity.bad_login")
	}
	if n := utf8.RuneCountInString(name); n == 0 || n > maxName || strings.ContainsFunc(name, isControl) {
		wrong = wrong.Field("name", "identity.bad_name")
	}
	if len(wrong.Fields) == 0 {
		return nil
	}
	return wrong
}

// isControl reports whether a character is not seen but changes what is: it controls, turns
// the text around, or makes two names look alike.
func isControl(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }

// newAccount is what Create needs; ids and codes are made outside the transaction.
type newAccount struct {
	login, name string
	grants      []service.Grant
	codeHash    []byte
}

// create makes an account that its owner activates with the code within codeLife.
// Refusals: ErrLoginTaken and those of checkAccount.
func create(tx *service.Tx, n newAccount, by service.Principal) (Account, error) {
	if err := checkAccount(n.login, n.name); err != nil {
		return Account{}, err
	}
	_, err := read(tx, n.login)
	if err == nil {
		return Account{}, ErrLoginTaken
	}
	if !errors.Is(err, service.ErrNotFound) {
		return Account{}, err
	}
	if err := tx.Exec(`INSERT INTO identity_account (login, name, code, code_until, created) VALUES (?, ?, ?, ?, ?)`,
		n.login, n.name, n.codeHash, tx.Now().Add(codeLife), tx.Now()); err != nil {
		return Account{}, fmt.Errorf("create account %s: %w", n.login, err)
	}
	if err := writeGrants(tx, n.login, n.grants); err != nil {
		return Account{}, err
	}
	if slices.ContainsFunc(n.grants, func(g service.Grant) bool { return g.Role == service.RoleDivisionAdmin }) {
		// There is an administrator now, however made: the door of the first boot closes.
		if err := tx.Exec(`UPDATE identity_first_boot SET used = ? WHERE used IS NULL`, tx.Now()); err != nil {
			return Account{}, err
		}
	}
	if err := record(tx, "identity.created", n.login, by, n.grants); err != nil {
		return Account{}, err
	}
	return read(tx, n.login)
}

// setGrants replaces what the account is granted and ends its sessions.
func setGrants(tx *service.Tx, a Account, grants []service.Grant, by service.Principal) error {
	if err := tx.Exec(`DELETE FROM identity_grant WHERE account = ?`, a.Login); err != nil {
		return err
	}
	if err := writeGrants(tx, a.Login, grants); err != nil {
		return err
	}
	if err := endSessions(tx, a.Login, ""); err != nil {
		return err
	}
	return record(tx, "identity.granted", a.Login, by, grants)
}

func writeGrants(tx *service.Tx, login string, grants []service.Grant) error {
	for _, g := range grants {
		if err := tx.Exec(`INSERT INTO identity_grant (account, tenant, role) VALUES (?, ?, ?)`,
			login, g.Tenant, string(g.Role)); err != nil {
			return fmt.Errorf("grant to account %s: %w", login, err)
		}
	}
	return nil
}

func record(tx *service.Tx, what, subject string, by service.Principal, grants []service.Grant) error {
	e := service.Event{What: what, Subject: subject, Who: by}
	if grants != nil {
		var list []string
		for _, g := range grants {
			list = append(list, g.Tenant+"/"+string(g.Role))
		}
		e.Detail = map[string]string{"grants": strings.Join(list, " ")}
	}
	return tx.Record(e)
}

// disable stops an account: nothing it holds works any more. Refusal: ErrNotDone.
func disable(tx *service.Tx, a Account, by service.Principal) error {
	if a.State == Disabled {
		return ErrNotDone
	}
	if err := tx.Exec(`UPDATE identity_account SET disabled = 1 WHERE login = ?`, a.Login); err != nil {
		return err
	}
	if err := endSessions(tx, a.Login, ""); err != nil {
		return err
	}
	return record(tx, "identity.disabled", a.Login, by, nil)
}

// enable lets a disabled account work as before. Refusal: ErrNotDone.
func enable(tx *service.Tx, a Account, by service.Principal) error {
	if a.State != Disabled {
		return ErrNotDone
	}
	if err := tx.Exec(`UPDATE identity_account SET disabled = 0 WHERE login = ?`, a.Login); err != nil {
		return err
	}
	return record(tx, "identity.enabled", a.Login, by, nil)
}

// reset takes away password, authenticator, devices and sessions; the owner activates
// the account again with the new code. Refusal: ErrDisabled.
func reset(tx *service.Tx, a Account, codeHash []byte, by service.Principal) error {
	if a.State == Disabled {
		return ErrDisabled
	}
	if err := tx.Exec(`UPDATE identity_account SET password = '', totp = NULL, code = ?, code_until = ? WHERE login = ?`,
		codeHash, tx.Now().Add(codeLife), a.Login); err != nil {
		return err
	}
	for _, table := range []string{"identity_enrolment", "identity_device"} {
		if err := tx.Exec(`DELETE FROM `+table+` WHERE account = ?`, a.Login); err != nil {
			return err
		}
	}
	if err := endSessions(tx, a.Login, ""); err != nil {
		return err
	}
	return record(tx, "identity.reset", a.Login, by, nil)
}

const accountColumns = `a.login, a.name, a.disabled, a.created, a.password, a.totp, a.totp_step, a.code, a.code_until`

func scanAccount(scan func(...any) error) (Account, error) {
	var a Account
	var disabled bool
	err := scan(&a.Login, &a.Name, &disabled, &a.Created, &a.password, &a.totp, &a.totpStep, &a.code, &a.codeUntil)
	switch {
	case disabled:
		a.State = Disabled
	case a.password == "":
		a.State = Invited
	default:
		a.State = Active
	}
	return a, err
}

// read returns the account, or service.ErrNotFound.
func read(q service.Querier, login string) (Account, error) {
	a, err := scanAccount(q.QueryRow(`SELECT `+accountColumns+` FROM identity_account AS a WHERE a.login = ?`, login).Scan)
	if errors.Is(err, replication.ErrNoRows) {
		return a, service.ErrNotFound
	}
	if err != nil {
		return a, fmt.Errorf("read an account: %w", err)
	}
	a.Grants, err = readGrants(q, login)
	return a, err
}

func readGrants(q service.Querier, login string) ([]service.Grant, error) {
	rows, err := q.Query(`SELECT tenant, role FROM identity_grant WHERE account = ? ORDER BY tenant, role`, login)
	if err != nil {
		return nil, fmt.Errorf("read the grants of an account: %w", err)
	}
	list, err := collect(rows, func(r *replication.Rows) (g service.Grant, err error) {
		var role string
		err = r.Scan(&g.Tenant, &role)
		g.Role = service.Role(role)
		return g, err
	})
	if list == nil {
		list = []service.Grant{} // JSON: [], not null.
	}
	return list, err
}

// Search says which accounts are wanted. Zero fields want everything.
type Search struct {
	Text    string   // Part of login or name.
	Tenants []string // Only accounts that hold a role at one of these; nil: all.
	Offset  int
	Limit   int
}

// List returns the accounts in order of their login and how many there are in all. Cost:
// a scan of the accounts.
func List(q service.Querier, s Search) (list []Account, total int, err error) {
	cond, args := `1`, []any{}
	if s.Text != "" {
		cond += ` AND (instr(a.login, ?) > 0 OR instr(lower(a.name), ?) > 0)`
		text := normalLogin(s.Text)
		args = append(args, text, text)
	}
	if s.Tenants != nil {
		cond += ` AND EXISTS (SELECT 1 FROM identity_grant AS g WHERE g.account = a.login AND g.tenant IN (` +
			strings.TrimSuffix(strings.Repeat("?,", len(s.Tenants)), ",") + `))`
		for _, t := range s.Tenants {
			args = append(args, t)
		}
	}
	if err := q.QueryRow(`SELECT count(*) FROM identity_account AS a WHERE `+cond, args...).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count the accounts: %w", err)
	}
	rows, err := q.Query(`SELECT `+accountColumns+` FROM identity_account AS a WHERE `+cond+
		` ORDER BY a.login LIMIT ? OFFSET ?`, append(slices.Clone(args), s.Limit, s.Offset)...)
	if err != nil {
		return nil, 0, fmt.Errorf("list the accounts: %w", err)
	}
	list, err = collect(rows, func(r *replication.Rows) (Account, error) { return scanAccount(r.Scan) })
	for i := range list {
		if list[i].Grants, err = readGrants(q, list[i].Login); err != nil {
			return nil, 0, err
		}
	}
	return list, total, err
}
