-- before: the parent that this division had before it moved; empty: it never did.
ALTER TABLE federation_parent ADD COLUMN before TEXT NOT NULL DEFAULT '';

-- Divisions that have moved, of whom all has come by the new way: since is the enrolment that
-- their entry of the directory names. What the former neighbour told is then given up. via: the
-- neighbour that told (empty: here).
CREATE TABLE federation_whole (
  ref TEXT PRIMARY KEY,
  since INTEGER NOT NULL,
  via TEXT NOT NULL
) WITHOUT ROWID;

-- What the parent last told of divisions of whom a child tells: it counts once the child tells
-- of them no more, because they have moved.
CREATE TABLE federation_told (
  ref TEXT PRIMARY KEY,
  row TEXT NOT NULL
) WITHOUT ROWID;
