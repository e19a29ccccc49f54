-- How things stand: one row.
WITH newest AS (
  SELECT
    decision,
    rank() OVER (PARTITION BY test ORDER BY started_at DESC, run_id DESC) AS age
  FROM {history}.gates
)
SELECT
  count(CASE WHEN decision = 'pass' THEN 1 END) AS gates_pass,
  count(CASE WHEN decision <> 'pass' THEN 1 END) AS gates_not_pass,
  (SELECT count(*) FROM {history}.runs) AS runs,
  (SELECT max(started_at) FROM {history}.runs) AS last_run_at
FROM newest
WHERE age = 1
