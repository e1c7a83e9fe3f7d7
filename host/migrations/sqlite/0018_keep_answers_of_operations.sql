-- The outcome of a client's call to an entity, in the codec of the model, so that a repeated request gets it. NULL until
-- the operation is applied, and for other requests.
ALTER TABLE idempotency_keys ADD COLUMN answer BLOB;
