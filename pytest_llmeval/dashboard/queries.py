"""What the page shows over time, as SQL that DuckDB, SQLite and PostgreSQL understand.

Whatever the length of a history, an answer has at most as many points as a chart has
room for: runs in order are cut into parts of the same size, and of each part the last
run is told, with the extremes of all.
"""

from __future__ import annotations

from pytest_llmeval.dashboard.choice import Choice
from pytest_llmeval.dashboard.source import History
from pytest_llmeval.dashboard.source import Record


CELLS = 36
"""In a row of the table of gates."""
MOST = 200
"""Of other things in a list."""

IN_TIME = "started_at >= :since and started_at < :until"
EVALUATIONS = f"""
select suite, name, count(*) as runs, max(started_at) as last
from evaluations
group by suite, name
order by last desc, suite, name
limit {MOST}
"""
NAMES = f"""
select m.metric, m.slice_by, m.slice_value, count(*) as points
from metrics m
join evaluations e on e.run_id = m.run_id and e.evaluation = m.evaluation
where e.suite = :suite and e.name = :name
group by m.metric, m.slice_by, m.slice_value
order by points desc, m.metric, m.slice_by, m.slice_value
limit {5 * MOST}
"""
SERIES = f"""
select m.run_id, m.evaluation, m.started_at, m.value, m.lower, m.upper, m.confidence,
       m.n, m.errors, m.higher_is_better, r.model, r.git_commit, r.status
from metrics m
join evaluations e on e.run_id = m.run_id and e.evaluation = m.evaluation
join runs r on r.run_id = m.run_id
where e.suite = :suite and e.name = :name and m.metric = :metric
  and m.slice_by = :slice_by and m.slice_value = :slice_value
  and m.{IN_TIME.replace(" and ", " and m.")}
"""
DECIDED = """
select run_id, evaluation, max(op) as op, max(threshold) as threshold,
       max(case decision when 'error' then 4 when 'fail' then 3
           when 'inconclusive' then 2 else 1 end) as decided
from gates
where metric = :metric and kind = 'metric' and suite = :suite
  and coalesce(slice_by, '') = :slice_by and coalesce(slice_value, '') = :slice_value
group by run_id, evaluation
"""
DECISIONS = {1: "pass", 2: "inconclusive", 3: "fail", 4: "error"}
TREND = f"""
with series as ({SERIES}), decided as ({DECIDED}),
parts as (
  select s.*, g.op, g.threshold, g.decided,
         ntile(:points) over (order by s.started_at, s.run_id) as part
  from series s
  left join decided g on g.run_id = s.run_id and g.evaluation = s.evaluation
),
ranked as (
  select p.*,
         row_number() over (partition by part order by started_at desc, run_id desc)
           as age,
         min(value) over (partition by part) as least,
         max(value) over (partition by part) as most,
         max(decided) over (partition by part) as worst,
         count(*) over (partition by part) as runs
  from parts p
)
select * from ranked where age = 1 order by started_at, run_id
"""
RELEASES = f"""
with followed as (
  select started_at, run_id, model,
         lag(model) over (order by started_at, run_id) as model_before
  from evaluations
  where suite = :suite and name = :name and {IN_TIME}
)
select started_at, run_id, model from followed
where model_before is not null and model <> model_before
order by started_at desc limit {MOST}
"""
DEPLOYMENTS = f"""
select began_at, run_id, model, target, step, traffic, reason, is_live
from deployments where began_at >= :since and began_at < :until
order by began_at desc limit {MOST}
"""
HEAT = f"""
with timed as (
  select run_id, started_at, ntile({CELLS}) over (order by started_at, run_id) as part
  from runs where {IN_TIME}
)
select g.suite, t.part, min(t.started_at) as first, max(t.started_at) as last,
       sum(case when g.decision = 'pass' then 1 else 0 end) as passed,
       sum(case when g.decision = 'fail' then 1 else 0 end) as failed,
       sum(case when g.decision = 'inconclusive' then 1 else 0 end) as inconclusive,
       sum(case when g.decision = 'error' then 1 else 0 end) as errors,
       max(case when g.decision <> 'pass' then t.run_id end) as missed,
       max(t.run_id) as run_id
from timed t join gates g on g.run_id = t.run_id
group by g.suite, t.part order by g.suite, t.part
limit {CELLS * MOST}
"""
CALLS = f"""
with parts as (
  select started_at, run_id, latency_p50_ms, latency_p95_ms, cost_usd, rows,
         ntile(:points) over (order by started_at, run_id) as part
  from evaluations
  where suite = :suite and name = :name and {IN_TIME}
)
select max(started_at) as started_at, max(run_id) as run_id, count(*) as runs,
       avg(latency_p50_ms) as p50, max(latency_p95_ms) as p95,
       avg(cost_usd) as cost, sum(cost_usd) as total
from parts group by part order by started_at
"""
RUNS = f"""
select r.run_id, r.started_at, r.status, r.reason, r.model, r.git_commit
from runs r join evaluations e on e.run_id = r.run_id
where e.suite = :suite and e.name = :name
order by r.started_at desc, r.run_id desc limit {MOST}
"""
GATED = """
select metric from gates
where suite = :suite and kind = 'metric'
order by started_at desc, gate limit 1
"""
SLICES = f"""
with two as (
  select e.run_id, e.evaluation,
         row_number() over (order by e.started_at desc, e.run_id desc) as age
  from evaluations e
  where e.suite = :suite and e.name = :name and e.{IN_TIME.replace(" and ", " and e.")}
)
select m.slice_by, m.slice_value, m.run_id, t.age, m.value, m.lower, m.upper, m.n,
       m.errors, m.higher_is_better
from two t join metrics m on m.run_id = t.run_id and m.evaluation = t.evaluation
where t.age <= 2 and m.metric = :metric
order by t.age, m.slice_by, m.slice_value limit {2 * MOST}
"""


def lists(history: History, choice: Choice) -> Record:
    """Return the evaluations, and the metrics and slices of the one that is chosen."""
    evaluations = history.ask(EVALUATIONS)
    chosen = {"suite": choice.suite, "name": choice.name}
    if not choice.suite and evaluations:
        chosen = {name: evaluations[0][name] for name in chosen}
    names = history.ask(NAMES, **chosen)
    gated = history.ask(GATED, suite=chosen["suite"]) if names else []
    metrics = dict.fromkeys(one["metric"] for one in names)
    slices = dict.fromkeys((one["slice_by"], one["slice_value"]) for one in names)
    return {
        "evaluations": [
            {"key": [one["suite"], one["name"]], "runs": one["runs"]}
            for one in evaluations
        ],
        "metrics": sorted(metrics),
        "slices": sorted(map(list, slices)),
        "gated": gated[0]["metric"] if gated else None,
        "runs": history.ask(RUNS, **chosen),
    }


def trend(history: History, choice: Choice) -> Record:
    """Return the points of one metric, and what happened meanwhile."""
    chosen = _values(choice, "suite", "name")
    series = _values(choice, "metric", "slice_by", "slice_value")
    shown = {"points": choice.points, **_time(choice)}
    points = history.ask(TREND, **chosen, **series, **shown)
    for point in points:
        point["decision"] = DECISIONS.get(point.pop("decided"))
        point["worst"] = DECISIONS.get(point["worst"])
    return {
        "points": points,
        "releases": history.ask(RELEASES, **chosen, **_time(choice)),
        "deployments": history.ask(DEPLOYMENTS, **_time(choice)),
    }


def heat(history: History, choice: Choice) -> Record:
    """Return how the gates of each suite came out over time."""
    return {"cells": history.ask(HEAT, **_time(choice))}


def calls(history: History, choice: Choice) -> Record:
    """Return latency and cost of an evaluation over time."""
    chosen = _values(choice, "suite", "name")
    shown = {"points": choice.points, **_time(choice)}
    return {"points": history.ask(CALLS, **chosen, **shown)}


def slices(history: History, choice: Choice) -> Record:
    """Return the slices of a metric in the last run, with those of the run before."""
    chosen = _values(choice, "suite", "name", "metric")
    found = history.ask(SLICES, **chosen, **_time(choice))
    before = {
        (one["slice_by"], one["slice_value"]): one["value"]
        for one in found
        if one["age"] != 1
    }
    now = [one for one in found if one["age"] == 1]
    for one in now:
        one["before"] = before.get((one["slice_by"], one["slice_value"]))
    return {"slices": now}


def _values(choice: Choice, *names: str) -> dict[str, str]:
    return {name: getattr(choice, name) for name in names}


def _time(choice: Choice) -> Record:
    return {"since": choice.since, "until": choice.until}
