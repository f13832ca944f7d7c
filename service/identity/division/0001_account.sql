CREATE TABLE identity_account (
	login      TEXT PRIMARY KEY,      -- Lower case; never changes, never given again.
	name       TEXT NOT NULL,
	disabled   INTEGER NOT NULL DEFAULT 0,
	password   TEXT NOT NULL DEFAULT '', -- argon2id in PHC format; empty: not activated yet.
	totp       BLOB,                     -- Secret of RFC 6238.
	totp_step  INTEGER NOT NULL DEFAULT 0, -- Last step whose code was used: none is taken twice.
	code       BLOB,                     -- Hash of the activation code, until it is used.
	code_until INTEGER,
	created    INTEGER NOT NULL
) STRICT;

CREATE TABLE identity_grant (
	account TEXT NOT NULL REFERENCES identity_account (login),
	tenant  TEXT NOT NULL, -- Empty: the division.
	role    TEXT NOT NULL,
	PRIMARY KEY (account, tenant, role)
) STRICT, WITHOUT ROWID;

CREATE INDEX identity_grant_tenant ON identity_grant (tenant, role);

-- Separation of duties, also against a program that forgets to ask: who audits does
-- nothing else, and who administers the division handles no business.
CREATE TRIGGER identity_grant_separate BEFORE INSERT ON identity_grant
WHEN EXISTS (SELECT 1 FROM identity_grant AS g WHERE g.account = NEW.account AND (
	(g.role = 'auditor') <> (NEW.role = 'auditor') OR (g.role = 'division-admin') <> (NEW.role = 'division-admin')))
BEGIN
	SELECT RAISE(ABORT, 'these roles exclude each other');
END;

-- The two steps of an activation: what is chosen counts only when the first code of the
-- authenticator has been seen.
CREATE TABLE identity_enrolment (
	account  TEXT PRIMARY KEY REFERENCES identity_account (login),
	hash     BLOB NOT NULL UNIQUE, -- SHA-256 of the token.
	password TEXT NOT NULL,
	totp     BLOB NOT NULL,
	until    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE identity_session (
	hash    BLOB PRIMARY KEY,     -- SHA-256 of the token.
	id      TEXT NOT NULL UNIQUE, -- Not secret.
	account TEXT NOT NULL REFERENCES identity_account (login),
	opened  INTEGER NOT NULL,
	seen    INTEGER NOT NULL,     -- Refreshed every five minutes at most.
	until   INTEGER NOT NULL,
	agent   TEXT NOT NULL         -- Browser, for the list that its owner sees.
) STRICT, WITHOUT ROWID;

CREATE INDEX identity_session_account ON identity_session (account);

-- Devices that have signed in before are not slowed down by what others try.
CREATE TABLE identity_device (
	hash    BLOB PRIMARY KEY, -- SHA-256 of the cookie.
	account TEXT NOT NULL REFERENCES identity_account (login),
	since   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX identity_device_account ON identity_device (account, since);

-- Attempts to sign in that have not succeeded (yet); kept half an hour.
CREATE TABLE identity_attempt (
	id      TEXT PRIMARY KEY,
	who     BLOB NOT NULL,    -- SHA-256 of the login: people type passwords there.
	source  TEXT NOT NULL,    -- Address, or known device.
	known   INTEGER NOT NULL, -- 1: a device that has signed in before.
	at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX identity_attempt_who ON identity_attempt (who, at);
CREATE INDEX identity_attempt_at ON identity_attempt (at);

CREATE TABLE identity_first_boot (
	id   INTEGER PRIMARY KEY CHECK (id = 1),
	hash BLOB NOT NULL,
	at   INTEGER NOT NULL,
	used INTEGER -- When the first administrator was made.
) STRICT;
