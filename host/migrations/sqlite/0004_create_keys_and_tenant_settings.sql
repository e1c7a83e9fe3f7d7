-- Tenants that strangers share a host as, and the keys by which their programs are known.

-- The number of a tenant is never given out again: rows that outlive a deleted tenant must not belong to the next one.
INSERT INTO counters (counter, reserved) VALUES ('tenant', 2);

ALTER TABLE tenants ADD COLUMN created_at_ms INTEGER NOT NULL DEFAULT 0;

-- 1 while no request is served on its behalf.
ALTER TABLE tenants ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0
    CONSTRAINT tenants_disabled_is_boolean CHECK (disabled IN (0, 1));

-- Its quotas, as JSON; what is not in it has no limit but the host's own.
ALTER TABLE tenants ADD COLUMN quotas TEXT NOT NULL DEFAULT '{}';

-- The id of the key that a version of a module was uploaded with; NULL if there were no keys.
ALTER TABLE modules ADD COLUMN uploaded_by TEXT;

-- API keys. Only a hash is kept: who reads the database cannot use them.
CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    tenant INTEGER NOT NULL,
    role INTEGER NOT NULL CONSTRAINT api_keys_role_is_known CHECK (role BETWEEN 0 AND 3),
    hash BLOB NOT NULL CONSTRAINT api_keys_hash_is_sha256 CHECK (length(hash) = 32),
    label TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER
) STRICT, WITHOUT ROWID;
