-- Compiled code and descriptions of the versions whose bytes are kept count as stored bytes of their tenant.

-- The size of the compiled code at the last upload; 0 if an older host stored the version, and without its bytes.
ALTER TABLE modules ADD COLUMN compiled_bytes INTEGER NOT NULL DEFAULT 0;

UPDATE tenants
SET stored_bytes = stored_bytes
        + (SELECT coalesce(sum(length(m.description) + coalesce(length(m.events), 0)), 0)
           FROM modules AS m
           WHERE m.tenant = tenants.tenant
              AND EXISTS (SELECT 1 FROM module_bytes AS b WHERE b.module = m.module));
