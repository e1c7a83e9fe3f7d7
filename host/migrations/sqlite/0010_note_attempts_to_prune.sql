-- Of each task, the last ten attempts are kept, and older ones are deleted with every one that is added. Tasks that have
-- more from before are noted here; the sweeper deletes their older attempts in small pieces, since there may be millions.

CREATE TABLE attempts_to_prune (
    partition INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    execution INTEGER NOT NULL,
    task INTEGER NOT NULL,
    PRIMARY KEY (partition, instance, execution, task)
) STRICT, WITHOUT ROWID;

-- From task to task, so that each is looked up once, however many attempts it has. Earlier executions are garbage.
WITH RECURSIVE tasks(partition, instance, execution, task) AS (
    SELECT i.partition, i.instance, i.execution,
           (SELECT min(a.task)
            FROM attempts AS a
            WHERE a.partition = i.partition AND a.instance = i.instance AND a.execution = i.execution)
    FROM instances AS i
    UNION ALL
    SELECT t.partition, t.instance, t.execution,
           (SELECT min(a.task)
            FROM attempts AS a
            WHERE a.partition = t.partition AND a.instance = t.instance AND a.execution = t.execution
                AND a.task > t.task)
    FROM tasks AS t
    WHERE t.task IS NOT NULL
)
INSERT INTO attempts_to_prune (partition, instance, execution, task)
SELECT t.partition, t.instance, t.execution, t.task
FROM tasks AS t
WHERE t.task IS NOT NULL
    AND (SELECT max(a.ordinal)
         FROM attempts AS a
         WHERE a.partition = t.partition AND a.instance = t.instance AND a.execution = t.execution AND a.task = t.task)
        > 10;
