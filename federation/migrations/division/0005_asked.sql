-- The tokens with which this division asked to be enrolled by a file: the reply, when it
-- comes, is proved by them.
CREATE TABLE federation_asked (
  id TEXT PRIMARY KEY,
  token TEXT NOT NULL,
  asked INTEGER NOT NULL
) WITHOUT ROWID;
