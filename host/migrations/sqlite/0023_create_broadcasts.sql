-- Broadcasts: events that the host raises for every instance that a filter selects, piece by piece. The row says how far
-- it is, and changes in the transaction that raises the events.

CREATE TABLE broadcasts (
    -- In the order of acceptance.
    broadcast INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL,
    id TEXT NOT NULL,
    -- SHA-256 of the request, to recognize its repetition.
    fingerprint BLOB NOT NULL,
    event TEXT NOT NULL,
    payload TEXT NOT NULL,
    -- JSON.
    filter TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    -- Instances with smaller numbers are still to come.
    below INTEGER NOT NULL,
    raised INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0,
    finished_at_ms INTEGER,
    -- What it counts as stored.
    bytes INTEGER NOT NULL,
    UNIQUE (tenant, id)
) STRICT;

-- Finds the next broadcast of each tenant.
CREATE INDEX broadcasts_unfinished ON broadcasts (tenant, broadcast) WHERE finished_at_ms IS NULL;

-- Finds those that are to be forgotten.
CREATE INDEX broadcasts_finished ON broadcasts (finished_at_ms) WHERE finished_at_ms IS NOT NULL;
