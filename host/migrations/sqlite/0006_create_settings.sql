-- What activities may ask for by name: plain settings and secrets of a tenant, each for some of its modules.
CREATE TABLE settings (
    tenant INTEGER NOT NULL,
    -- 0: a plain setting; 1: a secret, whose value is sealed with a key that is not in the database.
    kind INTEGER NOT NULL CONSTRAINT settings_kind_is_known CHECK (kind IN (0, 1)),
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    -- The names of the modules that may ask for it, as a JSON array.
    modules TEXT NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, kind, name)
) STRICT, WITHOUT ROWID;
