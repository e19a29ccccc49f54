"""The table of options: every setting's names on the command line and in the ini file.

Apart from `config`, which makes settings of them, because it is read in every pytest
run on the machine.
"""

from __future__ import annotations

from typing import NamedTuple


class Option(NamedTuple):
    """One setting: its names on the command line and in the ini file."""

    field: str
    """Name in `Settings`."""
    help: str
    """What it does, and its default in parentheses."""
    option: str | None = None
    ini: str | None = None
    type: type = str
    choices: tuple[str, ...] = ()
    least: float | None = None
    metavar: str | None = None
    flag: bool = False

    @property
    def name(self) -> str:
        """The name in the ini file, or the option where there is none."""
        return self.ini or self.option or self.field

    @property
    def ini_help(self) -> str:
        """The help of the ini value; its option explains both where there is one."""
        if self.option is None:
            return self.help
        return f"default for {self.option}"


# In the order in which pytest --help lists them: the model, speed, limits, stored
# predictions, Spark, gates and verdict, tracking, deployment.
OPTIONS = (
    Option(
        field="model",
        option="--llmeval-model",
        ini="llmeval_model",
        metavar="MODEL",
        help="model under test: gguf:NAME, gguf:/FILE.gguf, http(s)://HOST/v1#NAME, "
        "openai:/NAME, endpoints:/NAME, models:/NAME@ALIAS, models:/NAME/VERSION, "
        "runs:/ID/PATH or "
        "python:MODULE:FUNCTION (default: none)",
    ),
    Option(
        field="concurrency",
        option="--llmeval-concurrency",
        ini="llmeval_concurrency",
        type=int,
        least=1,
        metavar="N",
        help="most requests in flight at once, of all workers together (default: 32)",
    ),
    Option(
        field="timeout_s",
        option="--llmeval-timeout",
        ini="llmeval_timeout",
        type=float,
        least=0.001,
        metavar="SECONDS",
        help="seconds that one request may take (default: 60); a row takes at most "
        "attempts times this, plus a wait of up to 60 s before each further attempt: "
        "300 s with the defaults",
    ),
    Option(
        field="attempts",
        option="--llmeval-attempts",
        ini="llmeval_attempts",
        type=int,
        least=1,
        metavar="N",
        help="most times that a request is tried before its row is in error "
        "(default: 3)",
    ),
    Option(
        field="requests_per_minute",
        ini="llmeval_requests_per_minute",
        type=float,
        least=0.001,
        help="most requests a minute, of all workers together (default: no limit); "
        "they are spread evenly",
    ),
    Option(
        field="tokens_per_minute",
        ini="llmeval_tokens_per_minute",
        type=float,
        least=0.001,
        help="most prompt and output tokens a minute, of all workers together "
        "(default: no limit)",
    ),
    Option(
        field="early_stop",
        option="--llmeval-early-stop",
        ini="llmeval_early_stop",
        flag=True,
        help="ask for rows in a shuffled order, and for no more than the gates of a "
        "test need to be decided (default: off)",
    ),
    Option(
        field="max_requests",
        option="--llmeval-max-requests",
        ini="llmeval_max_requests",
        type=int,
        least=0,
        metavar="N",
        help="most requests of this run, of all workers together (default: no limit); "
        "when it is reached, running requests finish, the rows left are in error, and "
        "the verdict is incomplete with the reason BUDGET",
    ),
    Option(
        field="max_tokens",
        option="--llmeval-max-tokens",
        ini="llmeval_max_tokens",
        type=int,
        least=0,
        metavar="N",
        help="most prompt and output tokens of this run, likewise (default: no limit)",
    ),
    Option(
        field="max_cost_usd",
        option="--llmeval-max-cost-usd",
        ini="llmeval_max_cost_usd",
        type=float,
        least=0,
        metavar="DOLLARS",
        help="most US dollars that this run may cost, likewise (default: no limit); "
        "needs llmeval_prices, or a model that reports its costs",
    ),
    Option(
        field="max_seconds",
        option="--llmeval-max-seconds",
        ini="llmeval_max_seconds",
        type=float,
        least=0,
        metavar="SECONDS",
        help="most seconds from the start of this run to its last request, likewise "
        "(default: no limit)",
    ),
    Option(
        field="prices",
        ini="llmeval_prices",
        help="a line MODEL = PROMPT OUTPUT for each model that has a price, in US "
        "dollars for a million tokens: gpt-4.1-mini = 0.40 1.60 (default: none)",
    ),
    Option(
        field="cache",
        option="--llmeval-cache",
        ini="llmeval_cache",
        choices=("on", "off", "refresh", "only"),
        help="stored predictions: use and add (on), ignore (off), ask again and "
        "replace (refresh), or never call the model (only) (default: on)",
    ),
    Option(
        field="spark",
        option="--llmeval-spark",
        ini="llmeval_spark",
        metavar="ADDRESS",
        help="the Spark to use: sc://HOST:PORT, spark://HOST:PORT, local[N] or sail "
        "(default: none, which takes a running session, SPARK_REMOTE, "
        "databricks-connect, or an engine on this machine)",
    ),
    Option(
        field="spark_above",
        ini="llmeval_spark_above",
        type=int,
        least=0,
        help="rows above which data that Spark reads is evaluated by Spark too; fewer "
        "rows come to this process (default: 100000)",
    ),
    Option(
        field="spark_rows_per_task",
        ini="llmeval_spark_rows_per_task",
        type=int,
        least=1,
        help="most rows of one Spark task, which are asked for again when it is lost "
        "(default: 2000)",
    ),
    Option(
        field="spark_tasks",
        ini="llmeval_spark_tasks",
        type=int,
        least=1,
        help="Spark tasks that ask at once; they share the concurrency and the minute "
        "limits (default: none, which takes as many as Spark runs at once)",
    ),
    Option(
        field="spark_checkpoint",
        ini="llmeval_spark_checkpoint",
        help="folder or URI that Spark's driver and executors both reach, where the "
        "answers are kept (default: none, which takes the folder spark in that of "
        "--llmeval-dir, where Spark writes to this machine)",
    ),
    Option(
        field="cache_mb",
        ini="llmeval_cache_size",
        type=float,
        least=1,
        help="most MB of stored predictions (default: 1024); the oldest go when they "
        "are more",
    ),
    Option(
        field="directory",
        option="--llmeval-dir",
        ini="llmeval_dir",
        metavar="DIR",
        help="folder for stored predictions and runs; a relative path starts from the "
        "rootdir (default: .llmeval)",
    ),
    Option(
        field="confidence",
        ini="llmeval_confidence",
        type=float,
        help="confidence of gates that give none, from 0.5 to below 1 (default: none, "
        "which compares the point value)",
    ),
    Option(
        field="manifest",
        ini="llmeval_manifest",
        help="file that lists the required gates; a relative path starts from the "
        "rootdir (default: evals/gates.toml)",
    ),
    Option(
        field="gates",
        option="--llmeval-gates",
        choices=("update", "diff"),
        help="rewrite the gate manifest, or show how it would change, from a complete "
        "run that records gates and does not fail on them, as llmeval gates does "
        "(default: none)",
    ),
    Option(
        field="require",
        option="--llmeval-require",
        flag=True,
        help="exit with an error unless the verdict is pass and matches the gate "
        "manifest (default: off)",
    ),
    Option(
        field="reruns",
        ini="llmeval_reruns",
        choices=("block", "allow"),
        help="block or allow the verdict when tests were rerun until they passed "
        "(default: block)",
    ),
    Option(
        field="tracking",
        option="--llmeval-tracking",
        ini="llmeval_tracking",
        metavar="auto|off|URI",
        help="where MLflow keeps runs: MLFLOW_TRACKING_URI or sqlite:///mlflow.db in "
        "the rootdir (auto), nowhere (off), or this tracking URI (default: auto)",
    ),
    Option(
        field="deploy",
        option="--llmeval-deploy",
        metavar="TARGET",
        help="deploy what was evaluated when the verdict is pass: registry:NAME@ALIAS, "
        "serving:ENDPOINT, local:PORT, several with commas between; dry-run:TARGET "
        "plans only (default: none)",
    ),
    Option(
        field="point_gates",
        ini="llmeval_point_gates",
        choices=("refuse", "allow"),
        help="refuse or allow a deployment on gates that have no confidence "
        "(default: refuse)",
    ),
    Option(
        field="deploy_refs",
        ini="llmeval_deploy_refs",
        help="git refs, separated by spaces, that may deploy in CI systems other than "
        "GitHub Actions (default: none)",
    ),
    Option(
        field="deploy_timeout_s",
        ini="llmeval_deploy_timeout",
        type=float,
        least=0.001,
        help="seconds that a deployment waits for each target to be ready, and again "
        "for each one that is rolled back (default: 1200)",
    ),
    Option(
        field="verdict_max_age_h",
        ini="llmeval_verdict_max_age",
        type=float,
        least=0,
        help="hours after which a verdict is too old to be deployed (default: 24)",
    ),
    Option(
        field="max_attempts",
        ini="llmeval_max_attempts",
        type=int,
        least=1,
        help="most times that a gate may be decided on new answers of one model "
        "version to the same data before its pass counts no more (default: 3)",
    ),
    Option(
        field="databricks_volume",
        ini="llmeval_databricks_volume",
        help="folder in a Unity Catalog volume for what llmeval databricks sends and "
        "brings back, /Volumes/CATALOG/SCHEMA/VOLUME (default: none)",
    ),
    Option(
        field="keep_age",
        ini="llmeval_keep_age",
        help="age from which llmeval gc removes runs, stored predictions and Spark's "
        "answers: 90d (default: none)",
    ),
    Option(
        field="keep_size",
        ini="llmeval_keep_size",
        help="size of the folder above which llmeval gc removes what is oldest: 5GB "
        "(default: none)",
    ),
    Option(
        field="keep_runs",
        ini="llmeval_keep_runs",
        type=int,
        least=0,
        help="number of the newest runs that llmeval gc keeps; without an age and a "
        "size it removes all others (default: none)",
    ),
    Option(
        field="keep_rows_age",
        ini="llmeval_keep_rows_age",
        help="age from which llmeval gc removes the rows of a run, while its verdict "
        "stays: 30d (default: none)",
    ),
    Option(
        field="redact",
        ini="llmeval_redact",
        help="regular expressions of RE2, one a line; what they match in a row is "
        "replaced wherever rows leave the folder of their run (default: none)",
    ),
    Option(
        field="redact_columns",
        ini="llmeval_redact_columns",
        help="columns of the data, or input, references, context and prediction, one a "
        "line, that never leave the folder of their run (default: none)",
    ),
    Option(
        field="plugins",
        ini="llmeval_plugins",
        help="modules, separated by spaces, whose pytest_llmeval_* hooks hold in "
        "pytest and in llmeval deploy alike (default: none)",
    ),
    Option(
        field="markdown",
        option="--llmeval-markdown",
        ini="llmeval_markdown",
        metavar="FILE",
        help="write the run to this file as Markdown, for a comment on a pull request; "
        "a relative path starts from the rootdir (default: none)",
    ),
    Option(
        field="html",
        option="--llmeval-html",
        ini="llmeval_html",
        metavar="FILE",
        help="write the run to this file as one HTML page; a relative path starts from "
        "the rootdir (default: none)",
    ),
    Option(
        field="export",
        ini="llmeval_export",
        help="place of history tables that each run is added to at its end, as in "
        "llmeval export --to; a relative path starts from the rootdir (default: none)",
    ),
)
