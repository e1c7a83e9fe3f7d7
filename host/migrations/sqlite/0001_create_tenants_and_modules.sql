-- Whom rows belong to, and the code that runs: what changes seldom.
--
-- Ids, names and digests become small integers here; the tables of instances hold only those integers.
-- Foreign keys are not declared anywhere: the writer is the only one that writes, checks what it refers to itself, and
-- deletes in small pieces, so that rows may outlive their owner for a while. `windlass check` looks for what is amiss.

-- Counters that must never go back, not even when what they numbered is deleted.
CREATE TABLE counters (
    counter TEXT NOT NULL PRIMARY KEY,
    reserved INTEGER NOT NULL CONSTRAINT counters_reserved_is_positive CHECK (reserved > 0)
) STRICT, WITHOUT ROWID;

-- The next number of an instance, and the next position in an inbox or a log, may be anything from here on.
INSERT INTO counters (counter, reserved) VALUES ('instance', 1), ('sequence', 1);

CREATE TABLE tenants (
    tenant INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL CONSTRAINT tenants_name_is_unique UNIQUE
) STRICT;

-- The tenant of a host without keys.
INSERT INTO tenants (tenant, name) VALUES (1, 'default');

-- Names of orchestration functions, each stored once; never deleted.
CREATE TABLE function_names (
    function INTEGER NOT NULL PRIMARY KEY,
    tenant INTEGER NOT NULL,
    name TEXT NOT NULL,
    CONSTRAINT function_names_are_unique UNIQUE (tenant, name)
) STRICT;

-- Every version of a module that was ever stored: one row per digest and tenant. Kept for good, since histories and
-- ended instances refer to it; its bytes are not.
CREATE TABLE modules (
    module INTEGER NOT NULL PRIMARY KEY,
    tenant INTEGER NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL CONSTRAINT modules_digest_is_sha256 CHECK (length(digest) = 32),
    kind INTEGER NOT NULL CONSTRAINT modules_kind_is_known CHECK (kind IN (0, 1)),
    description BLOB NOT NULL,
    size INTEGER NOT NULL,
    uploaded_at_ms INTEGER NOT NULL,
    -- When it stopped being the current version of its name; NULL while it is.
    superseded_at_ms INTEGER,
    CONSTRAINT modules_digest_is_unique UNIQUE (tenant, digest)
) STRICT;

-- Apart from `modules`, so that reading a description never walks through megabytes of code.
CREATE TABLE module_bytes (
    module INTEGER NOT NULL PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;

-- The current version of each name.
CREATE TABLE module_names (
    tenant INTEGER NOT NULL,
    name TEXT NOT NULL,
    module INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

-- Which module offers a function: one per tenant, kind and function name.
CREATE TABLE functions (
    tenant INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    function TEXT NOT NULL,
    module_name TEXT NOT NULL,
    PRIMARY KEY (tenant, kind, function)
) STRICT, WITHOUT ROWID;
