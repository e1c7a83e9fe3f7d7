-- How much is stored on behalf of a tenant, so that it can be bounded without reading all of it.

-- Of the current execution: its history, its messages and attempts, and 256 for the row of the instance itself.
ALTER TABLE instances ADD COLUMN execution_bytes INTEGER NOT NULL DEFAULT 0;

-- Of the log of the current execution.
ALTER TABLE instances ADD COLUMN log_bytes INTEGER NOT NULL DEFAULT 0;

-- Of all its instances together: the sum of both columns over their rows.
ALTER TABLE tenants ADD COLUMN stored_bytes INTEGER NOT NULL DEFAULT 0;

-- 32 for every row beside its content.
UPDATE instances
SET execution_bytes = 256
        + (SELECT coalesce(sum(length(h.body) + 32), 0)
           FROM history AS h
           WHERE h.partition = instances.partition AND h.instance = instances.instance
              AND h.execution = instances.execution)
        + (SELECT coalesce(sum(length(m.item) + 32), 0)
           FROM inbox AS m
           WHERE m.partition = instances.partition AND m.instance = instances.instance)
        + (SELECT coalesce(sum(length(a.failure) + 32), 0)
           FROM attempts AS a
           WHERE a.partition = instances.partition AND a.instance = instances.instance
              AND a.execution = instances.execution),
    log_bytes =
        (SELECT coalesce(sum(length(CAST(l.message AS BLOB)) + 32), 0)
         FROM logs AS l
         WHERE l.partition = instances.partition AND l.instance = instances.instance
            AND l.execution = instances.execution);

UPDATE tenants
SET stored_bytes =
        (SELECT coalesce(sum(i.execution_bytes + i.log_bytes), 0)
         FROM instances AS i
         WHERE i.tenant = tenants.tenant);
