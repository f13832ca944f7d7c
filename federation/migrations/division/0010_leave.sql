-- Divisions that have left the tree for good: their parent revokes their authority. parent:
-- who says so. at: when. as_of: until when what they had told had arrived (NULL: never). row:
-- JSON of Revocation as the parent signed it. via: the neighbour that told (empty: here).
-- It counts while the directory has no other parent of the division.
CREATE TABLE federation_revocation (
  ref TEXT PRIMARY KEY,
  parent TEXT NOT NULL,
  at INTEGER NOT NULL,
  as_of INTEGER,
  row TEXT NOT NULL,
  via TEXT NOT NULL
) WITHOUT ROWID;
