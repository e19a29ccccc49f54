-- Latency and cost of each evaluation.
SELECT
  started_at,
  day,
  name AS evaluation,
  model,
  latency_p50_ms,
  latency_p95_ms,
  queue_p95_ms,
  requests,
  rows_asked,
  prompt_tokens,
  output_tokens,
  cost_usd,
  CASE WHEN rows_asked > 0 THEN 1000 * cost_usd / rows_asked END AS cost_per_1000_usd,
  duration_s,
  run_id
FROM {history}.evaluations
ORDER BY started_at, run_id, evaluation
