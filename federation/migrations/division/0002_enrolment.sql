-- What a token was minted for and spent on. renew: it may put another authority in the
-- place of an active child's. request: SHA-256 of the document that spent it; the same
-- document again gets the same answer, because the first one may have been lost.
ALTER TABLE federation_token ADD COLUMN renew INTEGER NOT NULL DEFAULT 0;
ALTER TABLE federation_token ADD COLUMN request BLOB;
ALTER TABLE federation_token ADD COLUMN answer BLOB;
