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
    option: str | None = None
    ini: str | None = None
    type: type = str
    choices: tuple[str, ...] = ()
    least: float | None = None
    metavar: str | None = None
    flag: bool = False


OPTIONS = (
    Option(
        field="model",
        option="--llmeval-model",
        ini="llmeval_model",
        metavar="MODEL",
        help="model under test: gguf:NAME, gguf:/file.gguf, http(s)://host/v1#NAME, "
        "openai:/NAME, models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID/PATH or "
        "python:module:function",
    ),
    Option(
        field="concurrency",
        option="--llmeval-concurrency",
        ini="llmeval_concurrency",
        type=int,
        least=1,
        metavar="N",
        help="requests in flight at once (default: 32)",
    ),
    Option(
        field="timeout_s",
        option="--llmeval-timeout",
        ini="llmeval_timeout",
        type=float,
        least=0.001,
        metavar="SECONDS",
        help="time-out of one request in seconds (default: 60); a row takes at most "
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
        help="times a request is tried before its row is an error (default: 3)",
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
        field="max_requests",
        option="--llmeval-max-requests",
        ini="llmeval_max_requests",
        type=int,
        least=0,
        metavar="N",
        help="most requests of this run, of all workers together; when it is reached, "
        "running requests finish, the rows left are in error, and the verdict is "
        "incomplete with the reason BUDGET",
    ),
    Option(
        field="max_tokens",
        option="--llmeval-max-tokens",
        ini="llmeval_max_tokens",
        type=int,
        least=0,
        metavar="N",
        help="most prompt and output tokens of this run, likewise",
    ),
    Option(
        field="max_cost_usd",
        option="--llmeval-max-cost-usd",
        ini="llmeval_max_cost_usd",
        type=float,
        least=0,
        metavar="DOLLARS",
        help="most that this run may cost in US dollars, likewise; needs "
        "llmeval_prices, or a model that reports its costs",
    ),
    Option(
        field="max_seconds",
        option="--llmeval-max-seconds",
        ini="llmeval_max_seconds",
        type=float,
        least=0,
        metavar="SECONDS",
        help="seconds from the start of this run after which no request begins, "
        "likewise",
    ),
    Option(
        field="prices",
        ini="llmeval_prices",
        help="a line MODEL = PROMPT OUTPUT for each model that has a price, in US "
        "dollars for a million tokens: gpt-4.1-mini = 0.40 1.60",
    ),
    Option(
        field="early_stop",
        option="--llmeval-early-stop",
        ini="llmeval_early_stop",
        flag=True,
        help="ask for rows in a shuffled order, and for no more than the gates of a "
        "test need to be decided",
    ),
    Option(
        field="cache",
        option="--llmeval-cache",
        ini="llmeval_cache",
        choices=("on", "off", "refresh", "only"),
        help="stored predictions: use and add (on, the default), ignore (off), ask "
        "again and replace (refresh), or never call the model (only)",
    ),
    Option(
        field="cache_mb",
        ini="llmeval_cache_size",
        type=float,
        least=1,
        help="size of the predictions store in MB (default: 1024); the oldest stored "
        "predictions go when it is exceeded",
    ),
    Option(
        field="tracking",
        option="--llmeval-tracking",
        ini="llmeval_tracking",
        metavar="auto|off|URI",
        help="MLflow: MLFLOW_TRACKING_URI or sqlite:///mlflow.db in the rootdir (auto, "
        "the default), nothing (off), or this tracking URI",
    ),
    Option(
        field="directory",
        option="--llmeval-dir",
        ini="llmeval_dir",
        metavar="DIR",
        help="folder for runs and stored predictions (default: ROOTDIR/.llmeval)",
    ),
    Option(
        field="markdown",
        option="--llmeval-markdown",
        ini="llmeval_markdown",
        metavar="FILE",
        help="write the run as Markdown for a comment on a pull request into this "
        "file; a relative path starts from the rootdir",
    ),
    Option(
        field="require",
        option="--llmeval-require",
        flag=True,
        help="exit with an error unless the verdict is pass and matches the manifest",
    ),
    Option(
        field="deploy",
        option="--llmeval-deploy",
        metavar="TARGET",
        help="deploy what was evaluated when the verdict is pass: registry:NAME@ALIAS",
    ),
    Option(
        field="gates",
        option="--llmeval-gates",
        choices=("update", "diff"),
        help="rewrite the gate manifest, or show how it would change, from a complete "
        "run that records gates and does not fail on them (see: llmeval gates)",
    ),
    Option(
        field="confidence",
        ini="llmeval_confidence",
        type=float,
        help="confidence of gates that give none, between 0.5 and 1 (default: none, "
        "compare the point value)",
    ),
    Option(
        field="manifest",
        ini="llmeval_manifest",
        help="file that lists the required gates (default: evals/gates.toml)",
    ),
    Option(
        field="point_gates",
        ini="llmeval_point_gates",
        choices=("refuse", "allow"),
        help="deployment with gates that have no confidence (default: refuse)",
    ),
    Option(
        field="reruns",
        ini="llmeval_reruns",
        choices=("block", "allow"),
        help="verdict when tests were rerun until they passed (default: block)",
    ),
    Option(
        field="deploy_refs",
        ini="llmeval_deploy_refs",
        help="git refs, separated by spaces, that may deploy in CI systems other than "
        "GitHub Actions",
    ),
)
