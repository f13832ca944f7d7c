-- An item (state: published). referred: since when something refers to it.
CREATE TABLE catalog_item (
  code TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  main_item TEXT NOT NULL,
  basic_code TEXT NOT NULL,
  area TEXT NOT NULL,
  body_code TEXT NOT NULL,
  type INTEGER NOT NULL,
  department TEXT NOT NULL,
  state TEXT NOT NULL,
  notes TEXT NOT NULL,
  hash TEXT NOT NULL,
  own INTEGER NOT NULL,
  inherited INTEGER NOT NULL,
  missing INTEGER NOT NULL,
  repair INTEGER,
  referred INTEGER,
  created INTEGER NOT NULL,
  changed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX catalog_item_name ON catalog_item (name);

-- A code under which an item was known before a repair: it is still found.
CREATE TABLE catalog_former (code TEXT PRIMARY KEY, item TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX catalog_former_item ON catalog_former (item);

-- A row that could not be published (state: quarantined, repaired, released, superseded).
-- key identifies the row in later imports; rev grows with each change by an import.
CREATE TABLE catalog_quarantine (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,
  batch INTEGER NOT NULL,
  line INTEGER NOT NULL,
  code TEXT NOT NULL,
  name TEXT NOT NULL,
  body_code TEXT NOT NULL,
  raw TEXT NOT NULL,
  reasons TEXT NOT NULL,
  kinds TEXT NOT NULL,
  hash TEXT NOT NULL,
  state TEXT NOT NULL,
  repair INTEGER,
  new_body TEXT NOT NULL,
  new_code TEXT NOT NULL,
  rev INTEGER NOT NULL,
  changed INTEGER NOT NULL
);
CREATE INDEX catalog_quarantine_state ON catalog_quarantine (state, kinds, body_code);
CREATE INDEX catalog_quarantine_repair ON catalog_quarantine (repair);

-- An import. next is the first row that is not yet taken: an import that was interrupted
-- goes on there.
CREATE TABLE catalog_batch (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,
  file TEXT NOT NULL,
  sum TEXT NOT NULL,
  total INTEGER NOT NULL,
  next INTEGER NOT NULL,
  result TEXT NOT NULL,
  account TEXT NOT NULL,
  at INTEGER NOT NULL
);

-- A body code that an operator vouched for, with the evidence.
CREATE TABLE catalog_body (
  code TEXT PRIMARY KEY,
  evidence TEXT NOT NULL,
  account TEXT NOT NULL,
  at INTEGER NOT NULL
) WITHOUT ROWID;

-- A bulk repair (state: applied, released, undone).
CREATE TABLE catalog_repair (
  id INTEGER PRIMARY KEY,
  code TEXT NOT NULL,
  selection TEXT NOT NULL,
  rows INTEGER NOT NULL,
  released INTEGER NOT NULL,
  state TEXT NOT NULL,
  account TEXT NOT NULL,
  at INTEGER NOT NULL,
  undone_by TEXT NOT NULL,
  undone INTEGER
);

-- What a repair did to a row: enough to undo it.
CREATE TABLE catalog_repair_row (
  repair INTEGER NOT NULL,
  row INTEGER NOT NULL,
  line INTEGER NOT NULL,
  name TEXT NOT NULL,
  old_body TEXT NOT NULL,
  old_code TEXT NOT NULL,
  new_code TEXT NOT NULL,
  rev INTEGER NOT NULL,
  PRIMARY KEY (repair, row)
) WITHOUT ROWID;

-- Every version of the guide fields that the department filled; the newest counts.
CREATE TABLE catalog_guide (
  item TEXT NOT NULL,
  version INTEGER NOT NULL,
  guide TEXT NOT NULL,
  account TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (item, version)
) WITHOUT ROWID;
