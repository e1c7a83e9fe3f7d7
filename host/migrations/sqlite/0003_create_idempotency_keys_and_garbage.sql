-- What is kept for a while only: clients' keys until they expire, and notes of what is to be deleted.

CREATE TABLE idempotency_keys (
    partition INTEGER NOT NULL,
    tenant INTEGER NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    -- Which instance the request was about.
    instance_id TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (partition, tenant, key)
) STRICT, WITHOUT ROWID;

-- Finds the keys that the sweeper may delete.
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at_ms);

-- Rows that nobody can reach any more. A purge or a continue-as-new may leave millions; deleting them at once would hold
-- up every other commit, so the writer only makes a note and the sweeper deletes them in small pieces.
CREATE TABLE garbage (
    partition INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    -- 0: everything of the instance; 1: one execution of it; 2: its inbox.
    what INTEGER NOT NULL CONSTRAINT garbage_what_is_known CHECK (what IN (0, 1, 2)),
    execution INTEGER NOT NULL,
    PRIMARY KEY (partition, instance, what, execution)
) STRICT, WITHOUT ROWID;
