-- Which enrolments an administrator approves: 'automatic' (none) or 'approve' (those of a
-- division, or an authority, that is not a child yet).
CREATE TABLE federation_approval (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  approval TEXT NOT NULL CHECK (approval IN ('automatic', 'approve'))
);

-- asked, asker, print: when somebody first came with the token while approval was needed,
-- who (as the request is kept that spends it), and the fingerprint of his key for people to
-- compare. approved: when that one was let in.
ALTER TABLE federation_token ADD COLUMN asked INTEGER;
ALTER TABLE federation_token ADD COLUMN asker BLOB;
ALTER TABLE federation_token ADD COLUMN print TEXT NOT NULL DEFAULT '';
ALTER TABLE federation_token ADD COLUMN approved INTEGER;
