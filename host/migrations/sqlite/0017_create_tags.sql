-- Tags: pairs of texts that clients give instances at their start, to find them again.

CREATE TABLE tags (
    partition INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    -- The tenant of the instance.
    tenant INTEGER NOT NULL,
    PRIMARY KEY (partition, instance, key)
) STRICT, WITHOUT ROWID;

-- Lists the instances of one tenant that have a tag, newest first.
CREATE INDEX tags_by_value ON tags (partition, tenant, key, value, instance);

-- Of the tags, in bytes. Apart from `execution_bytes`, because continue-as-new keeps the tags, and because they must not
-- count against the history.
ALTER TABLE instances ADD COLUMN tag_bytes INTEGER NOT NULL DEFAULT 0;
