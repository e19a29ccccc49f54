-- The heat map: of each suite and day, the share of gates that passed; the last 90 days.
SELECT
  suite,
  day,
  avg(CASE WHEN decision = 'pass' THEN 1 ELSE 0 END) AS passed_share,
  count(*) AS gates
FROM {history}.gates
WHERE day > (SELECT max(day) FROM {history}.gates) - INTERVAL 90 DAY
GROUP BY suite, day
ORDER BY suite, day
