-- An entity is an instance without a history; this is what is stored of it, in the codec of the model. NULL for
-- orchestrations.
ALTER TABLE instances ADD COLUMN entity BLOB;

-- The message waits until this time: a delayed signal of an entity. The queue of the others does not wait for it.
ALTER TABLE inbox ADD COLUMN due_at_ms INTEGER;

-- Finds the messages that are due next.
CREATE INDEX inbox_by_due ON inbox (partition, instance, due_at_ms, seq) WHERE due_at_ms IS NOT NULL;

-- The entities that a version offers, with their operations, in the codec of the model; NULL for versions without any.
ALTER TABLE modules ADD COLUMN entities BLOB;
