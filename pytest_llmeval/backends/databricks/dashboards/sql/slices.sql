-- The slices in the newest evaluation of each name, and how far each is from all rows.
WITH ranked AS (
  SELECT
    run_id,
    evaluation,
    name,
    rank() OVER (
      PARTITION BY name ORDER BY started_at DESC, run_id DESC, evaluation DESC
    ) AS age
  FROM {history}.evaluations
)
SELECT
  e.name AS evaluation,
  s.metric,
  s.slice_by,
  s.slice_value,
  concat(s.slice_by, ' = ', s.slice_value) AS slice,
  s.value,
  s.lower,
  s.upper,
  s.value - w.value AS from_all_rows,
  s.n,
  s.errors,
  s.started_at
FROM ranked AS e
JOIN {history}.metrics AS s
  ON s.run_id = e.run_id AND s.evaluation = e.evaluation AND s.slice_by <> ''
LEFT JOIN {history}.metrics AS w
  ON w.run_id = s.run_id
  AND w.evaluation = s.evaluation
  AND w.metric = s.metric
  AND w.slice_by = ''
WHERE e.age = 1
ORDER BY e.name, s.metric, s.slice_by, s.slice_value
