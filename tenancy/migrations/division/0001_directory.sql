-- The directory of a division: its tenants, their databases, and the nodes they are on.
CREATE TABLE tenancy_tenant (
  slug    TEXT PRIMARY KEY,
  name    TEXT NOT NULL UNIQUE,
  number  INTEGER NOT NULL UNIQUE CHECK (number BETWEEN 1 AND 999),
  state   TEXT NOT NULL CHECK (state IN ('active', 'suspended', 'closed')),
  created INTEGER NOT NULL
) WITHOUT ROWID;

-- Unified social credit codes of the tenant; one code may serve several tenants.
CREATE TABLE tenancy_code (
  tenant TEXT NOT NULL REFERENCES tenancy_tenant (slug),
  code   TEXT NOT NULL,
  PRIMARY KEY (tenant, code)
) WITHOUT ROWID;

-- founders: the JSON list of nodes that found the raft group; it never changes.
CREATE TABLE tenancy_database (
  id       TEXT PRIMARY KEY,
  tenant   TEXT NOT NULL REFERENCES tenancy_tenant (slug),
  founders TEXT NOT NULL,
  created  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE tenancy_node (
  id        TEXT PRIMARY KEY,
  address   TEXT NOT NULL,
  web       TEXT NOT NULL,
  recipient TEXT NOT NULL,
  joined    INTEGER NOT NULL,
  state     TEXT NOT NULL CHECK (state IN ('active', 'removed'))
) WITHOUT ROWID;

CREATE TABLE tenancy_token (
  hash     BLOB PRIMARY KEY,
  expires  INTEGER NOT NULL,
  spent_at INTEGER,
  spent_by TEXT
) WITHOUT ROWID;

CREATE TABLE tenancy_secret (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

-- Every certificate that the division's authority has issued.
CREATE TABLE tenancy_certificate (
  serial    TEXT PRIMARY KEY,
  node      TEXT NOT NULL,
  not_after INTEGER NOT NULL,
  issued    INTEGER NOT NULL,
  der       BLOB NOT NULL
) WITHOUT ROWID;
