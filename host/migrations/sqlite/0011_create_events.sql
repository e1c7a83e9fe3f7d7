-- Events that wait until an instance asks for them, apart from the other messages: an instance may leave thousands of
-- them waiting, and must find those of one name, and everything that is no event, without reading the rest.

CREATE TABLE events (
    partition INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    -- In the form that names are compared in.
    name TEXT NOT NULL,
    -- From the same sequence as in `inbox`.
    seq INTEGER NOT NULL,
    -- As in `inbox`.
    item BLOB NOT NULL,
    PRIMARY KEY (partition, instance, name, seq)
) STRICT, WITHOUT ROWID;

-- Of events that wait, in bytes. Apart from `execution_bytes`, because continue-as-new leaves them waiting, and because
-- what others send must not count against an instance.
ALTER TABLE instances ADD COLUMN event_bytes INTEGER NOT NULL DEFAULT 0;

-- Finds instances that have events when the host starts.
CREATE INDEX instances_with_events ON instances (partition, instance) WHERE event_bytes > 0;
