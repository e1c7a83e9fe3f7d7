-- What the outgoing requests of activities sent and received counts as use, too. Nobody knows of earlier ones.
ALTER TABLE usage ADD COLUMN http_sent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN http_received INTEGER NOT NULL DEFAULT 0;
