-- What was received: mine is this database's own epoch when the row was written, because
-- tokens that a restored receiver has are older than what its neighbours were given.
-- mark counts the scans from the start; the keys that a scan has seen carry it. held: the
-- neighbour is the parent, and two show its identity (a child is held in federation_child).
DROP TABLE federation_received;
CREATE TABLE federation_received (
  neighbour TEXT PRIMARY KEY,
  stream TEXT NOT NULL,
  epoch TEXT NOT NULL,
  version INTEGER NOT NULL,
  token TEXT NOT NULL,
  before TEXT NOT NULL,
  scan INTEGER NOT NULL,
  confirmed INTEGER,
  mine TEXT NOT NULL DEFAULT '',
  mark INTEGER NOT NULL DEFAULT 0,
  held INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

DROP TABLE federation_row;
CREATE TABLE federation_row (
  neighbour TEXT NOT NULL,
  feed TEXT NOT NULL,
  key TEXT NOT NULL,
  version INTEGER NOT NULL,
  mark INTEGER NOT NULL,
  format INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('folded', 'newer', 'parked')),
  reason TEXT NOT NULL,
  payload BLOB,
  PRIMARY KEY (neighbour, feed, key)
) WITHOUT ROWID;
CREATE INDEX federation_row_state ON federation_row (state) WHERE state <> 'folded';

-- reason: why the neighbour takes nothing now, a message key; empty: it does.
ALTER TABLE federation_sent ADD COLUMN reason TEXT NOT NULL DEFAULT '';

CREATE INDEX federation_directory_parent ON federation_directory (parent);
