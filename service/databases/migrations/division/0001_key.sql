-- Keys of application databases. hash: SHA-256 of the key, which is random and shown once.
CREATE TABLE databases_key (
  id        TEXT PRIMARY KEY,
  database  TEXT NOT NULL,
  name      TEXT NOT NULL,
  hash      BLOB NOT NULL UNIQUE,
  read_only INTEGER NOT NULL CHECK (read_only IN (0, 1)),
  created   INTEGER NOT NULL,
  revoked   INTEGER
) WITHOUT ROWID;
CREATE INDEX databases_key_database ON databases_key (database, created);
