-- Schedules start orchestrations at regular times. A schedule belongs to a partition like an instance.
--
-- What changes with every start is here, in a small row. `revision` is new with every change and never used twice, so
-- that a start and the progress of its schedule are one change, which happens once.
CREATE TABLE schedules (
    partition INTEGER NOT NULL,
    tenant INTEGER NOT NULL,
    name TEXT NOT NULL,
    revision INTEGER NOT NULL,
    -- When the host must look at it next; NULL while it is paused or over.
    next_at_ms INTEGER,
    -- What became of its times, in the codec of the model.
    state BLOB NOT NULL,
    -- The length of its definition.
    definition_bytes INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (partition, tenant, name)
) STRICT, WITHOUT ROWID;

-- Finds the schedules of a tenant that are due, the earliest first, and when the first one is.
CREATE INDEX schedules_by_time ON schedules (partition, tenant, next_at_ms, name) WHERE next_at_ms IS NOT NULL;

-- What a client defined, with an input that may be large, in the codec of the model.
CREATE TABLE schedule_definitions (
    partition INTEGER NOT NULL,
    tenant INTEGER NOT NULL,
    name TEXT NOT NULL,
    definition BLOB NOT NULL,
    PRIMARY KEY (partition, tenant, name)
) STRICT;
