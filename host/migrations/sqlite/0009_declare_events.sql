-- The events that the orchestrations of a version declare, in the codec of the model; NULL for versions that declare none.
-- Beside `description`, whose format has no room for them.
ALTER TABLE modules ADD COLUMN events BLOB;
