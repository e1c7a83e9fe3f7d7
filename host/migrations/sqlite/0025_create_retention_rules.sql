-- Retention: rules that say how long ended instances are kept, and an index that finds those that are not kept any more.

CREATE TABLE retention_rules (
    tenant INTEGER NOT NULL,
    -- The name of an orchestration function; empty for all.
    function TEXT NOT NULL,
    -- The number of a final status; 0 for all.
    status INTEGER NOT NULL,
    -- NULL for no limit.
    max_age_ms INTEGER,
    max_count INTEGER,
    updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, function, status)
) STRICT, WITHOUT ROWID;

-- `parent` becomes NULL when the parent is deleted, so that an instance without a parent is found by this column alone.
-- The host does that in small pieces from now on; this is for what older hosts have deleted. (`parent_link` keeps the id of
-- the parent.)
UPDATE instances
SET parent = NULL
WHERE parent IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM instances AS p WHERE p.partition = instances.partition AND p.instance = instances.parent);

-- Finds ended orchestrations without a parent, by function and status, those first that ended first. The expression is the
-- status of such an instance, and NULL for others. One expression for all of it lets SQLite answer from the index alone.
CREATE INDEX instances_to_expire ON instances (
    partition,
    tenant,
    function,
    iif(status >= 10 AND parent IS NULL AND substr(id, 1, 1) <> '@', status, NULL),
    updated_at_ms,
    instance
)
WHERE iif(status >= 10 AND parent IS NULL AND substr(id, 1, 1) <> '@', status, NULL) IS NOT NULL;
