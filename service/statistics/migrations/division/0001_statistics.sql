-- What a source said of a division, day and code: the newest absolute values. source: the
-- slug of a tenant for this division's own, else the reference of the child that sent it. basic: the code
-- under which this division shows and sends it. kind: what basic is (item, basic, own). measures: JSON of measure to value.
CREATE TABLE statistics_daily (
  division TEXT NOT NULL,
  day TEXT NOT NULL,
  basic TEXT NOT NULL,
  code TEXT NOT NULL,
  source TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('item', 'basic', 'own')),
  measures TEXT NOT NULL,
  PRIMARY KEY (division, day, code, source)
) WITHOUT ROWID;
CREATE INDEX statistics_daily_basic ON statistics_daily (division, day, basic);

-- Sums of it. division empty: all divisions; day empty: all days.
CREATE TABLE statistics_total (
  day TEXT NOT NULL,
  division TEXT NOT NULL,
  measure TEXT NOT NULL,
  value INTEGER NOT NULL,
  PRIMARY KEY (day, division, measure)
) WITHOUT ROWID;

-- Sums of all days. division empty: all divisions; owner: the division whose own code it
-- is, empty for a code that means the same everywhere.
CREATE TABLE statistics_item (
  division TEXT NOT NULL,
  code TEXT NOT NULL,
  owner TEXT NOT NULL,
  measure TEXT NOT NULL,
  value INTEGER NOT NULL,
  PRIMARY KEY (division, code, owner, measure)
) WITHOUT ROWID;
