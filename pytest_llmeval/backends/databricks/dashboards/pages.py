"""What the dashboard shows: its pages, over the datasets in the folder ``sql``."""

from __future__ import annotations

from pytest_llmeval.backends.databricks.dashboards import widgets
from pytest_llmeval.backends.databricks.dashboards.widgets import Place
from pytest_llmeval.backends.databricks.dashboards.widgets import Widget


DATASETS = {
    "now": "Now",
    "gates": "Gates of the newest runs",
    "gate_history": "Gates by suite and day",
    "trends": "Metrics over time",
    "slices": "Slices of the newest evaluations",
    "effort": "Latency and cost",
    "deployments": "Deployments",
}
"""Name of each dataset, which is that of its SQL file, and what people read."""

Placed = tuple[tuple[Widget, Place], ...]

_WHEN = ("started_at", "Started at (UTC)")
_EVALUATION = ("evaluation", "Evaluation")
_METRIC = ("metric", "Metric")
_SLICE = ("slice", "Slice")
_VALUE = ("value", "Value")
_LOWER = ("lower", "Lower end")
_UPPER = ("upper", "Upper end")
_MODEL = ("model", "Model")
_RUN = ("run_id", "Run")

OVERVIEW: Placed = (
    (
        widgets.text(
            "about",
            "# Evaluations of language models\n",
            "Made by `llmeval dashboard databricks`. Times are UTC.",
        ),
        Place(0, 0, 6, 2),
    ),
    (
        widgets.counter("passed", "now", ("gates_pass", "Gates passed")),
        Place(0, 2, 1, 3),
    ),
    (
        widgets.counter("not-passed", "now", ("gates_not_pass", "Gates not passed")),
        Place(1, 2, 2, 3),
    ),
    (widgets.counter("runs", "now", ("runs", "Runs")), Place(3, 2, 1, 3)),
    (
        widgets.counter("last-run", "now", ("last_run_at", "Last run (UTC)")),
        Place(4, 2, 2, 3),
    ),
    (
        widgets.heat_map(
            "gate-history",
            "gate_history",
            "Share of gates that passed",
            x=("day", "Day (UTC)"),
            y=("suite", "Suite"),
            color=("passed_share", "Share passed"),
        ),
        Place(0, 5, 6, 6),
    ),
    (
        widgets.table(
            "gates-now",
            "gates",
            "Gates of the newest run of each test",
            (
                ("suite", "Suite"),
                ("test", "Test"),
                _METRIC,
                _SLICE,
                ("decision", "Decision"),
                _VALUE,
                ("op", ""),
                ("threshold", "Threshold"),
                _LOWER,
                _UPPER,
                ("n", "Answers"),
                _MODEL,
                _WHEN,
                _RUN,
            ),
        ),
        Place(0, 11, 6, 8),
    ),
)

TRENDS: Placed = (
    (widgets.chooser("trend-evaluation", "trends", _EVALUATION), Place(0, 0, 3, 2)),
    (widgets.chooser("trend-metric", "trends", _METRIC), Place(3, 0, 3, 2)),
    (
        widgets.lines(
            "interval",
            "trends",
            "One metric with its interval and thresholds; choose it above",
            x=_WHEN,
            ys=(
                _VALUE,
                _LOWER,
                _UPPER,
                ("at_least", "Gate: at least"),
                ("at_most", "Gate: at most"),
            ),
        ),
        Place(0, 2, 6, 7),
    ),
    (
        widgets.series(
            "all-metrics",
            "trends",
            "All metrics",
            x=_WHEN,
            y=_VALUE,
            color=("series", "Evaluation / metric"),
        ),
        Place(0, 9, 6, 7),
    ),
)

SLICES: Placed = (
    (widgets.chooser("slice-evaluation", "slices", _EVALUATION), Place(0, 0, 3, 2)),
    (widgets.chooser("slice-metric", "slices", _METRIC), Place(3, 0, 3, 2)),
    (
        widgets.bars(
            "slice-values",
            "slices",
            "Slices of the newest evaluation; choose a metric above",
            x=_VALUE,
            y=_SLICE,
        ),
        Place(0, 2, 6, 6),
    ),
    (
        widgets.table(
            "slice-table",
            "slices",
            "Slices, and how far each is from all rows",
            (
                _EVALUATION,
                _METRIC,
                _SLICE,
                _VALUE,
                ("from_all_rows", "From all rows"),
                _LOWER,
                _UPPER,
                ("n", "Answers"),
                ("errors", "Without a score"),
                _WHEN,
            ),
        ),
        Place(0, 8, 6, 7),
    ),
)

EFFORT: Placed = (
    (widgets.chooser("effort-evaluation", "effort", _EVALUATION), Place(0, 0, 3, 2)),
    (widgets.chooser("effort-model", "effort", _MODEL), Place(3, 0, 3, 2)),
    (
        widgets.lines(
            "latency",
            "effort",
            "Time to an answer (ms)",
            x=_WHEN,
            ys=(
                ("latency_p50_ms", "Median"),
                ("latency_p95_ms", "95th percentile"),
                ("queue_p95_ms", "95th percentile of waits before it"),
            ),
        ),
        Place(0, 2, 6, 6),
    ),
    (
        widgets.lines(
            "cost",
            "effort",
            "Cost (US dollars)",
            x=_WHEN,
            ys=(("cost_usd", "Evaluation"), ("cost_per_1000_usd", "1,000 answers")),
        ),
        Place(0, 8, 3, 6),
    ),
    (
        widgets.lines(
            "tokens",
            "effort",
            "Tokens",
            x=_WHEN,
            ys=(("prompt_tokens", "Requests"), ("output_tokens", "Answers")),
        ),
        Place(3, 8, 3, 6),
    ),
)

DEPLOYMENTS: Placed = (
    (
        widgets.table(
            "deployment-table",
            "deployments",
            "Deployments, the newest first",
            (
                ("began_at", "Began at (UTC)"),
                ("target", "Target"),
                ("step", "Step"),
                ("traffic", "Traffic (percent)"),
                _MODEL,
                ("reason", "Outcome"),
                ("is_live", "As asked for"),
                ("verdict", "Verdict of the run"),
                ("message", "Message"),
                ("actor", "Who"),
                _RUN,
            ),
        ),
        Place(0, 0, 6, 10),
    ),
)

PAGES = {
    "overview": ("Overview", OVERVIEW),
    "trends": ("Metrics", TRENDS),
    "slices": ("Slices", SLICES),
    "effort": ("Latency and cost", EFFORT),
    "deployments": ("Deployments", DEPLOYMENTS),
}
"""Name of each page, what people read, and what is on it."""
