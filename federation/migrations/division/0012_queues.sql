-- Since when a row waits, in its state; NULL: it is folded.
ALTER TABLE federation_row ADD COLUMN at INTEGER;
