-- One row for each change and refusal. hash is over all other columns and names its
-- algorithm; prev is the hash of the row before.
CREATE TABLE audit_event (
	seq     INTEGER PRIMARY KEY,
	at      INTEGER NOT NULL, -- Unix microseconds of the transaction.
	what    TEXT NOT NULL,
	subject TEXT NOT NULL,
	account TEXT NOT NULL,    -- Empty: not signed in.
	kind    TEXT NOT NULL,    -- anonymous, staff, operator, system
	refused TEXT NOT NULL,    -- Reason; empty: it was done.
	detail  TEXT NOT NULL,    -- JSON object with sorted keys.
	prev    TEXT NOT NULL,
	hash    TEXT NOT NULL
) STRICT;

-- Time grows with seq, so this index costs one append at its right edge.
CREATE INDEX audit_event_at ON audit_event (at);

CREATE TRIGGER audit_event_update BEFORE UPDATE ON audit_event BEGIN
	SELECT RAISE(ABORT, 'the audit is append-only');
END;

CREATE TRIGGER audit_event_delete BEFORE DELETE ON audit_event BEGIN
	SELECT RAISE(ABORT, 'the audit is append-only');
END;

-- Also stops INSERT OR REPLACE, which fires no delete trigger.
CREATE TRIGGER audit_event_insert BEFORE INSERT ON audit_event
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM audit_event)
BEGIN
	SELECT RAISE(ABORT, 'the audit is append-only');
END;
