-- What was deployed where, on which verdict; the newest first.
SELECT
  d.began_at,
  d.ended_at,
  d.day,
  d.target,
  d.step,
  d.traffic,
  d.model,
  d.reason,
  d.is_live,
  d.message,
  d.actor,
  d.run_id,
  r.status AS verdict
FROM {history}.deployments AS d
LEFT JOIN {history}.runs AS r ON r.run_id = d.run_id
ORDER BY d.began_at DESC, d.deployment_id
