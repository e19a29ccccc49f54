-- The gates of the newest run of each test, those that did not pass first.
WITH ranked AS (
  SELECT
    *,
    rank() OVER (PARTITION BY test ORDER BY started_at DESC, run_id DESC) AS age
  FROM {history}.gates
)
SELECT
  g.suite,
  g.test,
  g.metric,
  CASE
    WHEN coalesce(g.slice_by, '') = '' THEN 'all rows'
    ELSE concat(g.slice_by, ' = ', g.slice_value)
  END AS slice,
  g.decision,
  g.value,
  g.lower,
  g.upper,
  g.op,
  g.threshold,
  g.n,
  r.model,
  g.started_at,
  g.run_id
FROM ranked AS g
LEFT JOIN {history}.runs AS r ON r.run_id = g.run_id
WHERE g.age = 1
ORDER BY CASE WHEN g.decision = 'pass' THEN 1 ELSE 0 END, g.suite, g.test, g.run_id, g.gate
