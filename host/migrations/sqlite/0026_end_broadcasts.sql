-- A broadcast can end before it has raised all its events: a client cancels it, or its row cannot be read.

-- How a broadcast that is finished has ended: 0 it raised all events, 1 cancelled, 2 its row cannot be read.
ALTER TABLE broadcasts ADD COLUMN ended_as INTEGER NOT NULL DEFAULT 0;

-- Why the row cannot be read.
ALTER TABLE broadcasts ADD COLUMN problem TEXT;
