-- Each metric over all rows, with its interval and the strictest gates on it.
WITH bars AS (
  SELECT
    run_id,
    evaluation,
    metric,
    max(CASE WHEN op IN ('>=', '>') THEN threshold END) AS at_least,
    min(CASE WHEN op IN ('<=', '<') THEN threshold END) AS at_most
  FROM {history}.gates
  WHERE kind = 'metric' AND coalesce(slice_by, '') = ''
  GROUP BY run_id, evaluation, metric
)
SELECT
  m.started_at,
  m.day,
  e.name AS evaluation,
  m.metric,
  concat(e.name, ' / ', m.metric) AS series,
  m.value,
  m.lower,
  m.upper,
  b.at_least,
  b.at_most,
  m.n,
  m.errors,
  e.model,
  m.run_id
FROM {history}.metrics AS m
JOIN {history}.evaluations AS e
  ON e.run_id = m.run_id AND e.evaluation = m.evaluation
LEFT JOIN bars AS b
  ON b.run_id = m.run_id AND b.evaluation = m.evaluation AND b.metric = m.metric
WHERE m.slice_by = ''
ORDER BY m.started_at, m.run_id, m.evaluation, m.metric
