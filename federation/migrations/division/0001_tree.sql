-- The division's place in the tree. One row, once it is enrolled. links: JSON list of
-- host:port at which the parent's leaf ports are reached. chain: JSON list of DER
-- certificates in base64, this division's authority as the parent signed it first, the
-- anchor last. anchor: what an empty parent means is that this division is one.
CREATE TABLE federation_parent (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  ref TEXT NOT NULL,
  links TEXT NOT NULL,
  chain TEXT NOT NULL,
  enrolled INTEGER NOT NULL
);

-- Children. state: active, or held with a reason (a message key below federation.held.).
-- ca: the child's authority, DER, as this division signed it.
CREATE TABLE federation_child (
  ref TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('active', 'held')),
  reason TEXT NOT NULL,
  ca BLOB NOT NULL,
  enrolled INTEGER NOT NULL
) WITHOUT ROWID;

-- Enrolment tokens: secret, because the request and the answer are proved by it (HMAC).
CREATE TABLE federation_token (
  id TEXT PRIMARY KEY,
  ref TEXT NOT NULL,
  secret BLOB NOT NULL,
  created INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  spent INTEGER
) WITHOUT ROWID;

-- The directory: every division of the tree that this one knows, itself too. row: JSON of
-- Entry as its owner signed it. via: the neighbour that told (empty: here).
CREATE TABLE federation_directory (
  ref TEXT PRIMARY KEY,
  parent TEXT NOT NULL,
  name TEXT NOT NULL,
  web TEXT NOT NULL,
  epoch TEXT NOT NULL,
  row TEXT NOT NULL,
  via TEXT NOT NULL
) WITHOUT ROWID;

-- What was received from a neighbour: how far, and when it last confirmed that there is
-- nothing newer (NULL: never). token and before: the newest two acknowledgements given
-- out; a sender that shows an older one is a copy. scan: the sender's epoch is new, and
-- not all of its rows are here yet.
CREATE TABLE federation_received (
  neighbour TEXT PRIMARY KEY,
  stream TEXT NOT NULL,
  epoch TEXT NOT NULL,
  version INTEGER NOT NULL,
  token TEXT NOT NULL,
  before TEXT NOT NULL,
  scan INTEGER NOT NULL,
  confirmed INTEGER
) WITHOUT ROWID;

-- Epochs that a neighbour had before: a sender that shows one is a copy or a stray.
CREATE TABLE federation_retired (
  neighbour TEXT NOT NULL,
  epoch TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (neighbour, epoch)
) WITHOUT ROWID;

-- Keys that a neighbour's rows hold here, to remove those that it lacks after a restore.
-- payload: only of rows that wait (format is newer than this program) or are parked.
-- state: folded, newer, parked (reason).
CREATE TABLE federation_row (
  neighbour TEXT NOT NULL,
  feed TEXT NOT NULL,
  key TEXT NOT NULL,
  version INTEGER NOT NULL,
  epoch TEXT NOT NULL,
  format INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('folded', 'newer', 'parked')),
  reason TEXT NOT NULL,
  payload BLOB,
  PRIMARY KEY (neighbour, feed, key)
) WITHOUT ROWID;
CREATE INDEX federation_row_state ON federation_row (state) WHERE state <> 'folded';

-- What was sent to a neighbour: how far it has acknowledged, and its newest token.
CREATE TABLE federation_sent (
  neighbour TEXT PRIMARY KEY,
  stream TEXT NOT NULL,
  epoch TEXT NOT NULL,
  version INTEGER NOT NULL,
  token TEXT NOT NULL,
  at INTEGER NOT NULL
) WITHOUT ROWID;

-- Divisions below that are silent: their figures are as of then. via: who says so (empty: here).
CREATE TABLE federation_silent (
  ref TEXT PRIMARY KEY,
  as_of INTEGER NOT NULL,
  via TEXT NOT NULL
) WITHOUT ROWID;
