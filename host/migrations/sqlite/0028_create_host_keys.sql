-- Keys that belong to the database, so that all hosts that use it one after the other have the same ones.

CREATE TABLE host_keys (
    name TEXT NOT NULL PRIMARY KEY,
    key BLOB NOT NULL CONSTRAINT host_keys_have_32_bytes CHECK (length(key) = 32)
) STRICT, WITHOUT ROWID;

-- Encrypts positions that clients get, such as cursors: see store/host_keys.rs. SQLite's random bytes come from a stream
-- cipher that the operating system's random bytes have seeded.
INSERT INTO host_keys (name, key) VALUES ('positions', randomblob(32));
