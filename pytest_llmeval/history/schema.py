"""The history tables: the one place that says what they are.

Table definitions of databases, Parquet schemas, the page in the documentation and the
checks all follow from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


SCHEMA_VERSION = 1
"""Kept in every target. It grows with each change of a table."""

Kind = Literal["text", "integer", "real", "boolean", "time", "day", "json"]
"""What a column holds; ``time`` is a UTC timestamp, and ``json`` is JSON as text."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    kind: Kind
    meaning: str
    """For people: one sentence."""
    unit: str = ""
    is_key: bool = False
    """Whether it is a part of the primary key; it has always a value then."""

    @property
    def described(self) -> str:
        """Its meaning with its unit, as a comment in a database."""
        return f"{self.meaning} Unit: {self.unit}." if self.unit else self.meaning


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the history."""

    name: str
    meaning: str
    """For people: one sentence that says what one row is."""
    columns: tuple[Column, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the columns that tell its rows apart."""
        return tuple(column.name for column in self.columns if column.is_key)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns, in order."""
        return tuple(column.name for column in self.columns)


_RUN = Column(
    "run_id",
    "text",
    "The run; it begins with the local time of its start.",
    is_key=True,
)
_DAY = Column("day", "day", "UTC day on which the run began; the partition.")
_STARTED = Column("started_at", "time", "When the run began.")
_EVALUATION = Column(
    "evaluation", "integer", "Number of the evaluation in its run, from 1.", is_key=True
)
_SUITE = Column("suite", "text", "File of the test.")
_TEST = Column("test", "text", "Node id of the test that evaluated or asserted.")

RUNS = Table(
    "runs",
    "One pytest session that evaluated something, with its verdict.",
    (
        _RUN,
        _DAY,
        _STARTED,
        Column(
            "source",
            "text",
            "suite, or traffic: a sample of what production was asked.",
        ),
        Column("finished_at", "time", "When the verdict was decided."),
        Column("duration_s", "real", "From start to verdict.", "seconds"),
        Column("status", "text", "Of the verdict: pass, fail or incomplete."),
        Column("reason", "text", "First reason against a pass, OK without one."),
        Column("detail", "text", "The reason as a sentence."),
        Column("exit_status", "integer", "pytest's exit status before deployment."),
        Column("model", "text", "Model under test as scheme, name and version."),
        Column("model_scheme", "text", "models, endpoints, gguf, http and so on."),
        Column("model_name", "text", "Name of the model without its version."),
        Column("model_version", "text", "Version that was resolved at the start."),
        Column("model_digest", "text", "Digest of the model's files, where known."),
        Column("model_requested", "text", "Model string that the user gave."),
        Column(
            "model_pinned", "boolean", "Whether it is sure to be the same tomorrow."
        ),
        Column("git_commit", "text", "Commit of the suite."),
        Column("git_branch", "text", "Branch of the suite."),
        Column("dirty", "boolean", "Whether tracked files differed from the commit."),
        Column("ci_url", "text", "Page of the CI job."),
        Column("gates_pass", "integer", "Gates that passed.", "gates"),
        Column("gates_fail", "integer", "Gates that failed.", "gates"),
        Column("gates_inconclusive", "integer", "Gates without a decision.", "gates"),
        Column("gates_error", "integer", "Gates that could not be computed.", "gates"),
        Column("rows", "integer", "Answers that were scored, repeats too.", "answers"),
        Column(
            "requests", "integer", "Requests to the model, retries too.", "requests"
        ),
        Column("prompt_tokens", "integer", "Of all evaluations.", "tokens"),
        Column("output_tokens", "integer", "Of all evaluations.", "tokens"),
        Column(
            "cost_usd", "real", "Of all evaluations; empty if unknown.", "US dollars"
        ),
        Column("mlflow_run_id", "text", "MLflow run that tracks it."),
        Column("version", "text", "Version of pytest-llmeval-gate that ran."),
        Column("has_rows", "boolean", "Whether its rows stand in the table rows."),
        Column("digest", "text", "SHA-256 of what was exported of the run."),
    ),
)

EVALUATIONS = Table(
    "evaluations",
    "One model on one dataset in one run: what was asked, and what it took.",
    (
        _RUN,
        _EVALUATION,
        _DAY,
        Column("started_at", "time", "When the evaluation began."),
        Column("duration_s", "real", "How long the evaluation took.", "seconds"),
        Column("name", "text", "Name of the evaluation, usually its dataset."),
        _SUITE,
        _TEST,
        Column("model", "text", "Model as scheme, name and version."),
        Column("dataset", "text", "Name of the dataset."),
        Column("dataset_digest", "text", "Digest over all rows and columns of it."),
        Column("request_digest", "text", "Digest of prompt, system and parameters."),
        Column("predictions_digest", "text", "Digest of all answers."),
        Column("rows", "integer", "Rows of the dataset.", "rows"),
        Column("repeats", "integer", "Answers to each row.", "answers"),
        Column("early_stopped", "boolean", "Whether gates needed fewer rows."),
        Column("confidence", "real", "Of the intervals of its metrics.", "share"),
        Column(
            "requests", "integer", "Requests to the model, retries too.", "requests"
        ),
        Column(
            "rows_asked", "integer", "Answers that were not stored ones.", "answers"
        ),
        Column("prompt_tokens", "integer", "Tokens of the requests.", "tokens"),
        Column("output_tokens", "integer", "Tokens of the answers.", "tokens"),
        Column("cost_usd", "real", "What it cost; empty if unknown.", "US dollars"),
        Column("latency_p50_ms", "real", "Median time to an answer.", "ms"),
        Column("latency_p95_ms", "real", "95th percentile of that time.", "ms"),
        Column("queue_p95_ms", "real", "95th percentile of waits before it.", "ms"),
    ),
)

METRICS = Table(
    "metrics",
    "One metric over one evaluation, or over one slice of its rows.",
    (
        _RUN,
        _EVALUATION,
        Column("metric", "text", "Name of the metric.", is_key=True),
        Column(
            "slice_by",
            "text",
            "Columns of the data that the slice is cut by; empty for all rows.",
            is_key=True,
        ),
        Column(
            "slice_value",
            "text",
            "Their values in the slice; empty for all rows.",
            is_key=True,
        ),
        _DAY,
        _STARTED,
        Column(
            "value", "real", "The metric; empty when not computed.", "of the metric"
        ),
        Column("lower", "real", "Lower end of its interval.", "of the metric"),
        Column("upper", "real", "Upper end of its interval.", "of the metric"),
        Column("confidence", "real", "Of the interval.", "share"),
        Column("n", "integer", "Answers that count in the value.", "answers"),
        Column("errors", "integer", "Answers without a score.", "answers"),
        Column("higher_is_better", "boolean", "Direction of the metric."),
    ),
)

GATES = Table(
    "gates",
    "One assertion about a metric, and how it came out.",
    (
        _RUN,
        Column(
            "gate", "integer", "Number of the gate in its run, from 1.", is_key=True
        ),
        _DAY,
        _STARTED,
        Column("evaluation", "integer", "The evaluation it is about, where known."),
        _SUITE,
        _TEST,
        Column("metric", "text", "Name of the metric."),
        Column("kind", "text", "metric, change, quantile and so on."),
        Column("slice_by", "text", "Columns that choose its rows; empty for all."),
        Column("slice_value", "text", "Their values; empty for all rows."),
        Column("op", "text", "Comparison, for example >=."),
        Column(
            "threshold", "real", "What the value is compared with.", "of the metric"
        ),
        Column("confidence", "real", "Asked of the decision; empty: none.", "share"),
        Column("method", "text", "point, gaffke, bca or betting."),
        Column("baseline", "text", "What a change is measured against."),
        Column("decision", "text", "pass, fail, inconclusive or error."),
        Column("reason", "text", "OK, or what was wrong, in a word."),
        Column(
            "value", "real", "The metric, the change or the quantile.", "of the metric"
        ),
        Column("lower", "real", "Lower end of its interval.", "of the metric"),
        Column("upper", "real", "Upper end of its interval.", "of the metric"),
        Column("n", "integer", "Answers that count.", "answers"),
        Column("errors", "integer", "Answers without a score.", "answers"),
        Column("text", "text", "The decision as sentences."),
    ),
)

DEPLOYMENTS = Table(
    "deployments",
    "One attempt to make a version live, or to bring an earlier one back.",
    (
        Column("deployment_id", "text", "Tells attempts apart.", is_key=True),
        Column("run_id", "text", "Run whose verdict it rests on; empty: a rollback."),
        Column("day", "day", "UTC day on which the attempt began; the partition."),
        Column("target", "text", "Where to: registry, endpoints and so on."),
        Column("step", "text", "deploy, challenge, promote, withdraw or rollback."),
        Column("traffic", "integer", "Share of requests it was to get.", "percent"),
        Column("model", "text", "Model as scheme, name and version."),
        Column("began_at", "time", "When the attempt began."),
        Column("ended_at", "time", "When it ended; empty when it broke off."),
        Column("reason", "text", "DEPLOYED, NOOP, ROLLED_BACK and so on."),
        Column("is_live", "boolean", "Whether what was asked for is so."),
        Column("message", "text", "How it ended, as a sentence."),
        Column("actor", "text", "Who deployed."),
    ),
)

ROWS = Table(
    "rows",
    "One answer with its scores; only with --rows, and after redaction.",
    (
        _RUN,
        _EVALUATION,
        Column("id", "text", "Id of the example.", is_key=True),
        Column(
            "repeat", "integer", "Which answer to the example, from 0.", is_key=True
        ),
        _DAY,
        Column("input", "text", "The question."),
        Column("expected", "json", "Acceptable answers, a list of texts."),
        Column("context", "text", "Text that the answer should rest on."),
        Column("metadata", "json", "Further columns of the example."),
        Column("prediction", "text", "What the model said; empty when in error."),
        Column("error_kind", "text", "timeout, http_500, scorer and so on."),
        Column("error_message", "text", "What went wrong."),
        Column("scores", "json", "Score by metric."),
        Column("latency_ms", "real", "From request to the whole answer.", "ms"),
        Column("prompt_tokens", "integer", "Tokens of the request.", "tokens"),
        Column("output_tokens", "integer", "Tokens of the answer.", "tokens"),
        Column("cost_usd", "real", "What the answer cost.", "US dollars"),
    ),
)

TABLES = (RUNS, EVALUATIONS, METRICS, GATES, DEPLOYMENTS, ROWS)
"""All tables. ``runs`` refers to none, and all others refer to it."""
BY_NAME = {table.name: table for table in TABLES}
