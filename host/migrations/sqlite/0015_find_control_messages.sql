-- Finds the control messages of an instance without walking through, or sorting, the rest of a long inbox.
CREATE INDEX inbox_controls ON inbox (partition, instance, seq) WHERE control = 1;
