-- A published item of any department, as people search it. audience: 1 persons, 2 firms,
-- 3 both, 0 not said.
CREATE TABLE catalog_entry (
  id INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL,
  code TEXT NOT NULL,
  name TEXT NOT NULL,
  main_item TEXT NOT NULL,
  type INTEGER NOT NULL,
  audience INTEGER NOT NULL,
  promise INTEGER NOT NULL,
  instant INTEGER NOT NULL,
  visits INTEGER,
  inherited INTEGER NOT NULL,
  words TEXT NOT NULL,
  pinyin TEXT NOT NULL,
  initials TEXT NOT NULL,
  sounds TEXT NOT NULL,
  former TEXT NOT NULL,
  UNIQUE (tenant, code)
);
CREATE INDEX catalog_entry_code ON catalog_entry (code);

-- What is searched, under the id of its entry: text cut into characters and pairs.
CREATE VIRTUAL TABLE catalog_search USING fts4 (name, words, pinyin, tokenize=unicode61);

-- Counts of a department.
CREATE TABLE catalog_department (
  tenant TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  published INTEGER NOT NULL,
  quarantined INTEGER NOT NULL,
  repaired INTEGER NOT NULL,
  own INTEGER NOT NULL,
  inherited INTEGER NOT NULL,
  missing INTEGER NOT NULL,
  at INTEGER NOT NULL
) WITHOUT ROWID;
