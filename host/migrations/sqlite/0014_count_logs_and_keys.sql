-- The logs of earlier executions and idempotency keys count as stored bytes, too.

-- Of the logs of earlier executions.
ALTER TABLE instances ADD COLUMN old_log_bytes INTEGER NOT NULL DEFAULT 0;

-- Older hosts counted a full log as one byte more than its maximum.
UPDATE instances
SET log_bytes =
        (SELECT coalesce(sum(octet_length(l.message) + 32), 0)
         FROM logs AS l
         WHERE l.partition = instances.partition AND l.instance = instances.instance
            AND l.execution >= instances.execution),
    old_log_bytes =
        (SELECT coalesce(sum(octet_length(l.message) + 32), 0)
         FROM logs AS l
         WHERE l.partition = instances.partition AND l.instance = instances.instance
            AND l.execution < instances.execution);

-- 128 for every key beside its text and the id of its instance: the fingerprint, and two rows of 48 bytes.
UPDATE tenants
SET stored_bytes =
        (SELECT coalesce(sum(i.execution_bytes + i.event_bytes + i.log_bytes + i.old_log_bytes), 0)
         FROM instances AS i
         WHERE i.tenant = tenants.tenant)
        + (SELECT coalesce(sum(m.compiled_bytes + length(m.description) + coalesce(length(m.events), 0)), 0)
           FROM modules AS m
           WHERE m.tenant = tenants.tenant
              AND EXISTS (SELECT 1 FROM module_bytes AS b WHERE b.module = m.module))
        + (SELECT coalesce(sum(octet_length(k.key) + octet_length(k.instance_id) + 128), 0)
           FROM idempotency_keys AS k
           WHERE k.partition = 0 AND k.tenant = tenants.tenant);
