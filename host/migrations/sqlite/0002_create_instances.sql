-- Instances and all that belongs to them.
--
-- Keys begin with `partition`, so that rows can one day be shared out among hosts; it is 0 until then and costs nothing
-- on disk. Tables whose rows are read by instance are clustered by it (WITHOUT ROWID), so that loading an instance reads
-- neighbouring pages.

CREATE TABLE instances (
    partition INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    tenant INTEGER NOT NULL,
    id TEXT NOT NULL,
    function INTEGER NOT NULL,
    module INTEGER NOT NULL,
    status INTEGER NOT NULL CONSTRAINT instances_status_is_known CHECK (status IN (0, 1, 2, 3, 10, 11, 12)),
    execution INTEGER NOT NULL CONSTRAINT instances_execution_is_positive CHECK (execution > 0),
    last_turn INTEGER NOT NULL,
    wake_at_ms INTEGER,
    in_flight INTEGER NOT NULL,
    unclean_ends INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    fuel INTEGER NOT NULL,
    custom_status TEXT,
    stuck BLOB,
    -- The instance that waits for this one, and how it does.
    parent INTEGER,
    parent_link BLOB,
    CONSTRAINT instances_that_ended_are_at_rest
        CHECK (status < 10 OR (wake_at_ms IS NULL AND in_flight = 0)),
    CONSTRAINT instances_stuck_has_its_reason
        CHECK ((status = 3) = (stuck IS NOT NULL)),
    PRIMARY KEY (partition, instance)
) STRICT, WITHOUT ROWID;

-- Finds an instance by the id that clients use, and keeps the id unique.
CREATE UNIQUE INDEX instances_by_id ON instances (partition, tenant, id);

-- Lists the instances of one tenant, newest first.
CREATE INDEX instances_by_tenant ON instances (partition, tenant, instance);

-- Lists the children of an instance.
CREATE INDEX instances_by_parent ON instances (partition, parent) WHERE parent IS NOT NULL;

-- Finds instances whose timer, time-out or retry is due.
CREATE INDEX instances_by_wake ON instances (partition, wake_at_ms) WHERE wake_at_ms IS NOT NULL;

-- Finds instances that had activities running when the host ended.
CREATE INDEX instances_in_flight ON instances (partition, instance) WHERE in_flight > 0;

-- Append-only: one row per turn, without gaps within an execution.
CREATE TABLE history (
    partition INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    execution INTEGER NOT NULL,
    turn INTEGER NOT NULL CONSTRAINT history_turn_is_positive CHECK (turn > 0),
    body BLOB NOT NULL,
    PRIMARY KEY (partition, instance, execution, turn)
) STRICT, WITHOUT ROWID;

-- Messages that wait for an instance.
CREATE TABLE inbox (
    partition INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    -- 1 for what a suspended instance must be woken for (terminate, resume), else 0.
    control INTEGER NOT NULL CONSTRAINT inbox_control_is_boolean CHECK (control IN (0, 1)),
    item BLOB NOT NULL,
    PRIMARY KEY (partition, instance, seq)
) STRICT, WITHOUT ROWID;

-- Append-only: attempts of tasks that did not bring the final outcome.
CREATE TABLE attempts (
    partition INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    execution INTEGER NOT NULL,
    task INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    number INTEGER NOT NULL,
    cut_off INTEGER NOT NULL CONSTRAINT attempts_cut_off_is_boolean CHECK (cut_off IN (0, 1)),
    failure BLOB NOT NULL,
    fuel INTEGER NOT NULL,
    started_at_ms INTEGER NOT NULL,
    ended_at_ms INTEGER NOT NULL,
    next_at_ms INTEGER,
    PRIMARY KEY (partition, instance, execution, task, ordinal)
) STRICT, WITHOUT ROWID;

-- Append-only: what guests wrote.
CREATE TABLE logs (
    partition INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    execution INTEGER NOT NULL,
    task INTEGER,
    attempt INTEGER,
    level INTEGER NOT NULL CONSTRAINT logs_level_is_known CHECK (level BETWEEN 0 AND 4),
    at_ms INTEGER NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (partition, instance, seq)
) STRICT, WITHOUT ROWID;
