-- In a table WITHOUT ROWID, SQLite compares whole rows: a search that passes a row of several megabytes reads all of it.
-- So one tenant's long turns, messages or statuses slowed down the commits of all others. In a table with rowids, a
-- search passes numbers only. Tables whose rows can be long are written anew; the tables of short rows stay as they are.

CREATE TABLE new_instances (
    -- In a table with rowids, this is the rowid.
    instance INTEGER NOT NULL PRIMARY KEY,
    partition INTEGER NOT NULL,
    tenant INTEGER NOT NULL,
    id TEXT NOT NULL,
    function INTEGER NOT NULL,
    module INTEGER NOT NULL,
    status INTEGER NOT NULL CONSTRAINT instances_status_is_known CHECK (status BETWEEN 0 AND 99),
    execution INTEGER NOT NULL CONSTRAINT instances_execution_is_positive CHECK (execution > 0),
    last_turn INTEGER NOT NULL,
    wake_at_ms INTEGER,
    in_flight INTEGER NOT NULL,
    unclean_ends INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    fuel INTEGER NOT NULL,
    -- What it takes in the store.
    execution_bytes INTEGER NOT NULL DEFAULT 0,
    event_bytes INTEGER NOT NULL DEFAULT 0,
    log_bytes INTEGER NOT NULL DEFAULT 0,
    old_log_bytes INTEGER NOT NULL DEFAULT 0,
    tag_bytes INTEGER NOT NULL DEFAULT 0,
    -- The instance that waits for this one, and how it does.
    parent INTEGER,
    parent_link BLOB,
    -- The columns that can be long are the last: to read a column, SQLite reads all that are before it.
    rewinds BLOB,
    stuck BLOB,
    custom_status TEXT,
    entity BLOB,
    CONSTRAINT instances_that_ended_are_at_rest
        CHECK (status < 10 OR (wake_at_ms IS NULL AND in_flight = 0)),
    CONSTRAINT instances_stuck_has_its_reason
        CHECK ((status = 3) = (stuck IS NOT NULL))
) STRICT;

INSERT INTO new_instances
    (instance, partition, tenant, id, function, module, status, execution, last_turn, wake_at_ms, in_flight,
     unclean_ends, created_at_ms, updated_at_ms, fuel, execution_bytes, event_bytes, log_bytes, old_log_bytes,
     tag_bytes, parent, parent_link, rewinds, stuck, custom_status, entity)
SELECT instance, partition, tenant, id, function, module, status, execution, last_turn, wake_at_ms, in_flight,
       unclean_ends, created_at_ms, updated_at_ms, fuel, execution_bytes, event_bytes, log_bytes, old_log_bytes,
       tag_bytes, parent, parent_link, rewinds, stuck, custom_status, entity
FROM instances;

DROP TABLE instances;
ALTER TABLE new_instances RENAME TO instances;

-- The last column of each index is the rowid.
CREATE UNIQUE INDEX instances_by_id ON instances (partition, tenant, id);
CREATE INDEX instances_by_tenant ON instances (partition, tenant);
CREATE INDEX instances_by_parent ON instances (partition, parent) WHERE parent IS NOT NULL;
CREATE INDEX instances_by_wake ON instances (partition, wake_at_ms) WHERE wake_at_ms IS NOT NULL;
CREATE INDEX instances_in_flight ON instances (partition) WHERE in_flight > 0;
CREATE INDEX instances_with_events ON instances (partition) WHERE event_bytes > 0;
CREATE INDEX instances_to_expire ON instances (
    partition,
    tenant,
    function,
    iif(status >= 10 AND parent IS NULL AND substr(id, 1, 1) <> '@', status, NULL),
    updated_at_ms
)
WHERE iif(status >= 10 AND parent IS NULL AND substr(id, 1, 1) <> '@', status, NULL) IS NOT NULL;

CREATE TABLE new_history (
    partition INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    execution INTEGER NOT NULL,
    turn INTEGER NOT NULL CONSTRAINT history_turn_is_positive CHECK (turn > 0),
    body BLOB NOT NULL,
    PRIMARY KEY (partition, instance, execution, turn)
) STRICT;

INSERT INTO new_history (partition, instance, execution, turn, body)
SELECT partition, instance, execution, turn, body
FROM history;

DROP TABLE history;
ALTER TABLE new_history RENAME TO history;

CREATE TABLE new_inbox (
    partition INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    -- 1 for what a suspended instance must be woken for (terminate, resume), else 0.
    control INTEGER NOT NULL CONSTRAINT inbox_control_is_boolean CHECK (control IN (0, 1)),
    due_at_ms INTEGER,
    item BLOB NOT NULL,
    PRIMARY KEY (partition, instance, seq)
) STRICT;

INSERT INTO new_inbox (partition, instance, seq, control, due_at_ms, item)
SELECT partition, instance, seq, control, due_at_ms, item
FROM inbox;

DROP TABLE inbox;
ALTER TABLE new_inbox RENAME TO inbox;

CREATE INDEX inbox_controls ON inbox (partition, instance, seq) WHERE control = 1;
CREATE INDEX inbox_by_due ON inbox (partition, instance, due_at_ms, seq) WHERE due_at_ms IS NOT NULL;

CREATE TABLE new_events (
    partition INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    -- In the form that names are compared in.
    name TEXT NOT NULL,
    -- From the same sequence as in `inbox`.
    seq INTEGER NOT NULL,
    -- As in `inbox`.
    item BLOB NOT NULL,
    PRIMARY KEY (partition, instance, name, seq)
) STRICT;

INSERT INTO new_events (partition, instance, name, seq, item)
SELECT partition, instance, name, seq, item
FROM events;

DROP TABLE events;
ALTER TABLE new_events RENAME TO events;

CREATE TABLE new_attempts (
    partition INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    execution INTEGER NOT NULL,
    task INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    number INTEGER NOT NULL,
    cut_off INTEGER NOT NULL CONSTRAINT attempts_cut_off_is_boolean CHECK (cut_off IN (0, 1)),
    fuel INTEGER NOT NULL,
    started_at_ms INTEGER NOT NULL,
    ended_at_ms INTEGER NOT NULL,
    next_at_ms INTEGER,
    failure BLOB NOT NULL,
    PRIMARY KEY (partition, instance, execution, task, ordinal)
) STRICT;

INSERT INTO new_attempts
    (partition, instance, execution, task, ordinal, number, cut_off, fuel, started_at_ms, ended_at_ms, next_at_ms,
     failure)
SELECT partition, instance, execution, task, ordinal, number, cut_off, fuel, started_at_ms, ended_at_ms, next_at_ms,
       failure
FROM attempts;

DROP TABLE attempts;
ALTER TABLE new_attempts RENAME TO attempts;

CREATE TABLE new_logs (
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
) STRICT;

INSERT INTO new_logs (partition, instance, seq, execution, task, attempt, level, at_ms, message)
SELECT partition, instance, seq, execution, task, attempt, level, at_ms, message
FROM logs;

DROP TABLE logs;
ALTER TABLE new_logs RENAME TO logs;

CREATE TABLE new_heartbeats (
    partition INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    execution INTEGER NOT NULL,
    task INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    -- JSON text.
    details TEXT NOT NULL,
    PRIMARY KEY (partition, instance, execution, task)
) STRICT;

INSERT INTO new_heartbeats (partition, instance, execution, task, at_ms, details)
SELECT partition, instance, execution, task, at_ms, details
FROM heartbeats;

DROP TABLE heartbeats;
ALTER TABLE new_heartbeats RENAME TO heartbeats;

CREATE TABLE new_idempotency_keys (
    partition INTEGER NOT NULL,
    tenant INTEGER NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    -- Which instance the request was about.
    instance_id TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    answer BLOB,
    PRIMARY KEY (partition, tenant, key)
) STRICT;

INSERT INTO new_idempotency_keys (partition, tenant, key, fingerprint, instance_id, expires_at_ms, answer)
SELECT partition, tenant, key, fingerprint, instance_id, expires_at_ms, answer
FROM idempotency_keys;

DROP TABLE idempotency_keys;
ALTER TABLE new_idempotency_keys RENAME TO idempotency_keys;

CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at_ms);
