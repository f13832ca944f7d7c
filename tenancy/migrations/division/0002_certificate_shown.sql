-- When the node said last that it shows the certificate: it stays believed, however many
-- that it could not store were issued since.
ALTER TABLE tenancy_certificate ADD COLUMN shown INTEGER;
