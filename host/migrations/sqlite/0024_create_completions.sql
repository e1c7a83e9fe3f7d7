-- Activity calls that may be completed from outside: the attempt was given a token, of which only the hash is stored. A
-- row stays after its token was used, so that a second use is told apart from an unknown token; the next attempt of the
-- call replaces it.

CREATE TABLE completions (
    partition INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    execution INTEGER NOT NULL,
    task INTEGER NOT NULL,
    -- SHA-256.
    token BLOB NOT NULL,
    -- 0: the attempt runs, 1: it has ended and waits, 2: the token was used, 3: it is void.
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),
    attempt INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    fuel INTEGER NOT NULL,
    started_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    PRIMARY KEY (partition, instance, execution, task)
) STRICT, WITHOUT ROWID;

-- Finds the call of a token.
CREATE UNIQUE INDEX completions_by_token ON completions (token);

-- Finds those whose time is over next.
CREATE INDEX completions_by_expiry ON completions (partition, expires_at_ms)
WHERE state = 1 AND expires_at_ms IS NOT NULL;
