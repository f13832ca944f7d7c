-- What a department or a division below offers, once for each text: the same item of two
-- hundred counties is cut and ranked once. words: everyday words, divided by spaces.
-- size: bytes of the name, the order of a list without a query.
CREATE TABLE catalog_text (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  main_item TEXT NOT NULL,
  words TEXT NOT NULL,
  pinyin TEXT NOT NULL,
  initials TEXT NOT NULL,
  sounds TEXT NOT NULL,
  size INTEGER NOT NULL,
  UNIQUE (name, main_item, words)
);
CREATE INDEX catalog_text_size ON catalog_text (size, name);

-- What is searched, under the id of its text: characters, pairs and pinyin.
CREATE VIRTUAL TABLE catalog_text_search USING fts4 (name, words, pinyin, tokenize=unicode61);

-- A published item of this division (division empty) or of one below (its reference).
-- via: the child that told; empty: here. department: the tenant's name as its division
-- told it; empty: here. audience: 1 persons, 2 firms, 3 both, 0 not said.
CREATE TABLE catalog_offer (
  id INTEGER PRIMARY KEY,
  division TEXT NOT NULL,
  via TEXT NOT NULL,
  tenant TEXT NOT NULL,
  department TEXT NOT NULL,
  code TEXT NOT NULL,
  former TEXT NOT NULL,
  text INTEGER NOT NULL,
  type INTEGER NOT NULL,
  audience INTEGER NOT NULL,
  promise INTEGER NOT NULL,
  instant INTEGER NOT NULL,
  visits INTEGER,
  inherited INTEGER NOT NULL,
  UNIQUE (division, tenant, code)
);
CREATE INDEX catalog_offer_text ON catalog_offer (text, division, tenant, code, audience, type);

-- Item codes, of now and former ones, under the id of their offer.
CREATE VIRTUAL TABLE catalog_code_search USING fts4 (codes, tokenize=unicode61);

-- The basic catalog 基本目录. words: everyday words, divided by spaces. guide: JSON of the
-- fields that the catalog fixes. source: the division that maintains it; via: the parent
-- that told, empty: here. version: grows with each change of the row at its source.
CREATE TABLE catalog_basic (
  code TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  type INTEGER NOT NULL,
  main_item TEXT NOT NULL,
  words TEXT NOT NULL,
  english TEXT NOT NULL,
  guide TEXT NOT NULL,
  version INTEGER NOT NULL,
  source TEXT NOT NULL,
  via TEXT NOT NULL,
  changed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX catalog_basic_name ON catalog_basic (name);

-- Imports of the basic catalog. result: JSON, with the rows that were not taken.
CREATE TABLE catalog_basic_import (
  id INTEGER PRIMARY KEY,
  file TEXT NOT NULL,
  result TEXT NOT NULL,
  account TEXT NOT NULL,
  at INTEGER NOT NULL
);

-- The search of the first version is replaced. What fills it is what the departments have
-- published: their feeds are folded from the beginning again.
DROP TABLE catalog_search;
DROP TABLE catalog_entry;
DELETE FROM service_cursor;
