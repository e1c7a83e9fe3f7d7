-- What tenants have used, per day and function. Added up by the transaction that records the turn or attempt, so that
-- it is exact whatever happens to the host.
CREATE TABLE usage (
    tenant INTEGER NOT NULL,
    -- Days since 1970-01-01, UTC.
    day INTEGER NOT NULL,
    -- 0: turns of an orchestration function; 1: attempts of an activity function.
    kind INTEGER NOT NULL CONSTRAINT usage_kind_is_known CHECK (kind IN (0, 1)),
    function TEXT NOT NULL,
    count INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    fuel INTEGER NOT NULL,
    wall_ms INTEGER NOT NULL,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL,
    PRIMARY KEY (tenant, day, kind, function)
) STRICT, WITHOUT ROWID;
