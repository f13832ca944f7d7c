-- Keys that the division holds of its tenants' feeds, with the epoch of the tenant's database
-- in which they were last folded: after a restore, those that the database lacks are removed.
CREATE TABLE tenancy_folded (
  tenant TEXT NOT NULL,
  feed   TEXT NOT NULL,
  key    TEXT NOT NULL,
  epoch  TEXT NOT NULL,
  PRIMARY KEY (tenant, feed, key)
) WITHOUT ROWID;

-- For which epoch of a tenant's database that was done.
CREATE TABLE tenancy_swept (
  tenant TEXT PRIMARY KEY,
  epoch  TEXT NOT NULL
) WITHOUT ROWID;
