-- What a token was minted for and spent on. renew: it may put another authority in the
-- place of a child's. request: what spent it; the same again gets the same answer, because
-- the first one may have been lost.
ALTER TABLE federation_token ADD COLUMN renew INTEGER NOT NULL DEFAULT 0;
ALTER TABLE federation_token ADD COLUMN request BLOB;
ALTER TABLE federation_token ADD COLUMN answer BLOB;

-- fixed: the links were given by command; what the parent advertises does not change them.
ALTER TABLE federation_parent ADD COLUMN fixed INTEGER NOT NULL DEFAULT 0;

-- Where this division's nodes take links of children: what a child is told.
CREATE TABLE federation_link (
  node TEXT PRIMARY KEY,
  address TEXT NOT NULL
) WITHOUT ROWID;
