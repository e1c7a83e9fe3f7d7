-- Kinds of modules, of functions, of settings and of garbage are numbers that newer hosts add to. A check that lists them
-- would forbid that, and SQLite cannot drop one: the tables are written anew.

CREATE TABLE new_modules (
    module INTEGER NOT NULL PRIMARY KEY,
    tenant INTEGER NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL CONSTRAINT modules_digest_is_sha256 CHECK (length(digest) = 32),
    -- 0: orchestrations; 1: activities.
    kind INTEGER NOT NULL,
    description BLOB NOT NULL,
    size INTEGER NOT NULL,
    uploaded_at_ms INTEGER NOT NULL,
    -- When it stopped being the current version of its name; NULL while it is.
    superseded_at_ms INTEGER,
    uploaded_by TEXT,
    events BLOB,
    CONSTRAINT modules_digest_is_unique UNIQUE (tenant, digest)
) STRICT;

INSERT INTO new_modules
    (module, tenant, name, digest, kind, description, size, uploaded_at_ms, superseded_at_ms, uploaded_by, events)
SELECT module, tenant, name, digest, kind, description, size, uploaded_at_ms, superseded_at_ms, uploaded_by, events
FROM modules;

DROP TABLE modules;
ALTER TABLE new_modules RENAME TO modules;

CREATE TABLE new_usage (
    tenant INTEGER NOT NULL,
    -- Days since 1970-01-01, UTC.
    day INTEGER NOT NULL,
    -- 0: turns of an orchestration function; 1: attempts of an activity function.
    kind INTEGER NOT NULL,
    function TEXT NOT NULL,
    count INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    fuel INTEGER NOT NULL,
    wall_ms INTEGER NOT NULL,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL,
    http_sent INTEGER NOT NULL DEFAULT 0,
    http_received INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, day, kind, function)
) STRICT, WITHOUT ROWID;

INSERT INTO new_usage
    (tenant, day, kind, function, count, failed, fuel, wall_ms, bytes_in, bytes_out, http_sent, http_received)
SELECT tenant, day, kind, function, count, failed, fuel, wall_ms, bytes_in, bytes_out, http_sent, http_received
FROM usage;

DROP TABLE usage;
ALTER TABLE new_usage RENAME TO usage;

CREATE TABLE new_settings (
    tenant INTEGER NOT NULL,
    -- 0: a plain setting; 1: a secret, whose value is sealed with a key that is not in the database.
    kind INTEGER NOT NULL,
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    -- The names of the modules that may ask for it, as a JSON array.
    modules TEXT NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, kind, name)
) STRICT, WITHOUT ROWID;

INSERT INTO new_settings (tenant, kind, name, value, modules, updated_at_ms)
SELECT tenant, kind, name, value, modules, updated_at_ms
FROM settings;

DROP TABLE settings;
ALTER TABLE new_settings RENAME TO settings;

CREATE TABLE new_garbage (
    partition INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    -- 0: everything of the instance; 1: one execution of it; 2: its inbox.
    what INTEGER NOT NULL,
    execution INTEGER NOT NULL,
    PRIMARY KEY (partition, instance, what, execution)
) STRICT, WITHOUT ROWID;

INSERT INTO new_garbage (partition, instance, what, execution)
SELECT partition, instance, what, execution
FROM garbage;

DROP TABLE garbage;
ALTER TABLE new_garbage RENAME TO garbage;
