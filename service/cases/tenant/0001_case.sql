-- A case. version grows with every event. due is the end of what the department must do
-- next (NULL: not its turn, or the clock stands); provisional: due lies beyond the
-- published calendar. secret is a hash.
CREATE TABLE cases_case (
  id INTEGER PRIMARY KEY,
  number TEXT NOT NULL UNIQUE,
  secret BLOB NOT NULL,
  item TEXT NOT NULL,
  item_name TEXT NOT NULL,
  instant INTEGER NOT NULL,
  statutory INTEGER NOT NULL,
  promise INTEGER NOT NULL,
  extension INTEGER NOT NULL,
  name TEXT NOT NULL,
  id_kind TEXT NOT NULL,
  id_number TEXT NOT NULL,
  phone TEXT NOT NULL,
  agent_name TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  agent_phone TEXT NOT NULL,
  note TEXT NOT NULL,
  state TEXT NOT NULL,
  version INTEGER NOT NULL,
  submitted INTEGER NOT NULL,
  received INTEGER NOT NULL,
  accepted INTEGER,
  silent INTEGER NOT NULL,
  corrected INTEGER NOT NULL,
  decided INTEGER,
  due INTEGER,
  provisional INTEGER NOT NULL
);
CREATE INDEX cases_case_due ON cases_case (state, due);
CREATE INDEX cases_case_item ON cases_case (item);

-- What happened to a case, in order of seq from 1; hash covers the row and prev.
CREATE TABLE cases_event (
  case_id INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  action TEXT NOT NULL,
  from_state TEXT NOT NULL,
  to_state TEXT NOT NULL,
  who TEXT NOT NULL,
  account TEXT NOT NULL,
  name TEXT NOT NULL,
  at INTEGER NOT NULL,
  code TEXT NOT NULL,
  text TEXT NOT NULL,
  days INTEGER NOT NULL,
  content TEXT NOT NULL,
  prev TEXT NOT NULL,
  hash TEXT NOT NULL,
  PRIMARY KEY (case_id, seq)
) WITHOUT ROWID;

-- A material of the item as it was when the case was submitted. given: the applicant says
-- that they have it.
CREATE TABLE cases_material (
  case_id INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  required INTEGER NOT NULL,
  shared INTEGER NOT NULL,
  given INTEGER NOT NULL,
  PRIMARY KEY (case_id, seq)
) WITHOUT ROWID;

-- A time in which the clocks stand; ended NULL: now.
CREATE TABLE cases_stop (
  case_id INTEGER NOT NULL,
  began INTEGER NOT NULL,
  ended INTEGER,
  kind TEXT NOT NULL,
  days INTEGER NOT NULL,
  PRIMARY KEY (case_id, began)
) WITHOUT ROWID;

-- Up to when the calendar went by which the deadlines were counted; one row.
CREATE TABLE cases_calendar (id INTEGER PRIMARY KEY, until INTEGER NOT NULL);

-- A browser that may see a case until then, by the hash of its token.
CREATE TABLE cases_visit (token BLOB PRIMARY KEY, case_id INTEGER NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX cases_visit_until ON cases_visit (until);

-- A wrong secret, by the hash of the number that was asked for.
CREATE TABLE cases_guess (id BLOB PRIMARY KEY, number BLOB NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX cases_guess_number ON cases_guess (number, at);
CREATE INDEX cases_guess_at ON cases_guess (at);
