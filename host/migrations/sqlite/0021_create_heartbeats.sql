-- What an attempt of an activity reported last. The next attempt reads it, also after a crash of the host.

CREATE TABLE heartbeats (
    partition INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    execution INTEGER NOT NULL,
    task INTEGER NOT NULL,
    -- JSON text.
    details TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (partition, instance, execution, task)
) STRICT, WITHOUT ROWID;
