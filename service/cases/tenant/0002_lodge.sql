-- A case that was lodged at this department's window for a department of another division
-- (异地代收代办). mail: its number in service_outbox, where it says how it stands. secret
-- is a hash. case_number, item_name: as the owner answered; empty before.
CREATE TABLE cases_lodged (
  id INTEGER PRIMARY KEY,
  number TEXT NOT NULL UNIQUE,
  secret BLOB NOT NULL,
  mail INTEGER NOT NULL UNIQUE,
  division TEXT NOT NULL,
  tenant TEXT NOT NULL,
  item TEXT NOT NULL,
  item_name TEXT NOT NULL,
  name TEXT NOT NULL,
  id_kind TEXT NOT NULL,
  id_number TEXT NOT NULL,
  phone TEXT NOT NULL,
  agent_name TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  agent_phone TEXT NOT NULL,
  note TEXT NOT NULL,
  account TEXT NOT NULL,
  lodged INTEGER NOT NULL,
  case_number TEXT NOT NULL
);

-- A browser that may see a lodged case until then, by the hash of its token.
CREATE TABLE cases_lodged_visit (token BLOB PRIMARY KEY, lodged_id INTEGER NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX cases_lodged_visit_until ON cases_lodged_visit (until);

-- At which window of another division a case of this department was lodged, under which
-- number: its secret is hashed with that number.
CREATE TABLE cases_channel (
  case_id INTEGER PRIMARY KEY,
  number TEXT NOT NULL,
  division TEXT NOT NULL,
  division_name TEXT NOT NULL,
  department TEXT NOT NULL
);
