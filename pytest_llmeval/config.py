"""Settings of a run: one frozen value, and where each part of it came from."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

from pytest_llmeval.amounts import read_age
from pytest_llmeval.amounts import read_size
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.options import OPTIONS
from pytest_llmeval.options import Option
from pytest_llmeval.redaction import Redaction
from pytest_llmeval.redaction import read_columns
from pytest_llmeval.redaction import read_patterns


TRACKING_WORDS = ("auto", "off", "databricks", "databricks-uc")
Price = tuple[float, float]
"""US dollars for a million prompt tokens, and for a million output tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStart:
    """What all processes of a run share from its start."""

    id: str
    """Names the run's directory."""
    at: float
    """Unix time in seconds."""
    began: float
    """The same moment on the system's monotonic clock, which all processes read."""

    @classmethod
    def at_time(cls, at: float, began: float) -> RunStart:
        """Return the start of a run that began then, with an id for it."""
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(at))
        return cls(id=f"{stamp}-{os.urandom(3).hex()}", at=at, began=began)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run was asked to do. Built once; the engine gets values."""

    rootdir: Path = field(default_factory=Path.cwd)
    model: str | None = None
    concurrency: int = 32
    timeout_s: float = 60.0
    attempts: int = 3
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_requests: int | None = None
    max_tokens: int | None = None
    max_cost_usd: float | None = None
    max_seconds: float | None = None
    prices: Mapping[str, Price] = field(default_factory=dict)
    early_stop: bool = False
    spark: str | None = None
    spark_above: int = 100_000
    spark_rows_per_task: int = 2_000
    spark_tasks: int | None = None
    spark_checkpoint: str | None = None
    cache: str = "on"
    cache_mb: float = 1024.0
    tracking: str = "auto"
    directory: str = ".llmeval"
    markdown: str | None = None
    html: str | None = None
    export: str | None = None
    require: bool = False
    deploy: str | None = None
    gates: str | None = None
    confidence: float | None = None
    manifest: str = "evals/gates.toml"
    point_gates: str = "refuse"
    reruns: str = "block"
    deploy_refs: str = ""
    deploy_timeout_s: float = 1200.0
    verdict_max_age_h: float = 24.0
    max_attempts: int = 3
    databricks_volume: str | None = None
    keep_age: str | None = None
    keep_size: str | None = None
    keep_runs: int | None = None
    keep_rows_age: str | None = None
    redact: tuple[str, ...] = ()
    redact_columns: tuple[str, ...] = ()
    plugins: str = ""
    worker: int = 0
    """Which of the run's worker processes this is, from 0."""
    workers: int = 1
    services: Path | None = None
    """Where the processes of a run find those that they share; None outside pytest."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """For each field that was set: the option or ini name that set it."""

    @property
    def home(self) -> Path:
        """The folder for runs and stored predictions."""
        return self.rootdir / self.directory

    @property
    def share(self) -> int:
        """This worker's share of the requests that may be in flight, at least one."""
        return max(1, self.concurrency // self.workers)

    @property
    def turn_path(self) -> Path | None:
        """The lock file of those workers that share one request in flight."""
        if self.workers <= self.concurrency:
            return None
        return self.home / "turns" / f"{self.worker % self.concurrency}.lock"

    @property
    def tracking_uri(self) -> str:
        """The MLflow store; the registry needs one also when tracking is off."""
        if self.tracking not in ("auto", "off"):
            return self.tracking
        default = f"sqlite:///{self.rootdir / 'mlflow.db'}"
        return os.environ.get("MLFLOW_TRACKING_URI") or default

    @property
    def redaction(self) -> Redaction:
        """What is taken out of rows that leave the run directory."""
        return Redaction(self.redact, self.redact_columns)

    @property
    def manifest_path(self) -> Path:
        """The gate manifest."""
        return self.rootdir / self.manifest


def experiment() -> dict[str, str | None]:
    """Return the name and, where it is known, the id of the experiment in MLflow."""
    return {
        "experiment": os.environ.get("MLFLOW_EXPERIMENT_NAME") or "llmeval",
        "experiment_id": os.environ.get("MLFLOW_EXPERIMENT_ID") or None,
    }


def build_settings(rootdir: Path, given: Mapping[str, Any]) -> Settings:
    """Merge command line and ini file, the command line first.

    Args:
        rootdir: Folder that relative paths start from.
        given: Values by option or ini name; None, False or empty where not given.

    Raises:
        ConfigurationError: a value cannot be used.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for option in OPTIONS:
        for name in filter(None, (option.option, option.ini)):
            value = given.get(name)
            value = value.strip() if isinstance(value, str) else value
            if value not in (None, False, "") and option.field not in values:
                values[option.field] = _parse(option, name, value)
                sources[option.field] = name
    return Settings(rootdir=rootdir, sources=sources, **values)


def _parse(option: Option, name: str, given: Any) -> Any:
    if option.flag:
        return given is True or _read_flag(name, given)
    if not isinstance(given, str):  # a list, which TOML has
        raise ConfigurationError(f"{name} = {given!r} is not one value but several")
    if option.choices and given not in option.choices:
        raise ConfigurationError(
            f"{name} = {given!r} is not one of: {', '.join(option.choices)}"
            + nearest(given, option.choices)
        )
    if option.type is not str:
        return _read_number(option, name, given)
    if option.field == "prices":
        return read_prices(given)
    if option.field in _AMOUNTS:
        _check_amount(option, name, given)
    if option.field == "redact":
        return read_patterns(given)
    if option.field == "redact_columns":
        return read_columns(given)
    if option.field == "tracking":
        _check_tracking(name, given)
    return given


def _read_number(option: Option, name: str, given: str) -> int | float:
    try:
        value: int | float = option.type(given)
    except ValueError:
        kind = {int: "a whole number", float: "a number"}[option.type]
        raise ConfigurationError(f"{name} = {given!r} is not {kind}") from None
    if option.least is not None and not value >= option.least:
        raise ConfigurationError(f"{name} = {given!r} must be at least {option.least}")
    if value == float("inf"):
        raise ConfigurationError(f"{name} = {given!r} must be finite")
    return check_confidence(value, name) if option.field == "confidence" else value


_AMOUNTS = {"keep_age": read_age, "keep_rows_age": read_age, "keep_size": read_size}


def _check_amount(option: Option, name: str, given: str) -> None:
    try:
        _AMOUNTS[option.field](given)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}") from None


def _check_tracking(name: str, given: str) -> None:
    """Refuse a word that MLflow would take for a folder to begin a store in."""
    if given not in TRACKING_WORDS and not set(given) & set(":/\\"):
        raise ConfigurationError(
            f"{name} = {given!r} is not a tracking URI, nor one of: "
            f"{', '.join(TRACKING_WORDS)}{nearest(given, TRACKING_WORDS)}"
        )


def _read_flag(name: str, given: Any) -> bool:
    words = {"true": True, "on": True, "yes": True, "1": True}
    words |= {"false": False, "off": False, "no": False, "0": False}
    word = str(given).lower()
    if word not in words:
        raise ConfigurationError(f"{name} = {given!r} is neither true nor false")
    return words[word]


def read_prices(text: str) -> dict[str, Price]:
    """Read the ini value ``llmeval_prices``: a line for each model.

    Args:
        text: Lines such as ``gpt-4.1-mini = 0.40 1.60``.

    Raises:
        ConfigurationError: a line is not of this form.
    """
    prices: dict[str, Price] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, numbers = line.rpartition("=")
        try:
            prompt, output = map(float, numbers.split())
        except ValueError:
            prompt = output = -1.0
        usable = all(0.0 <= dollars < float("inf") for dollars in (prompt, output))
        if not name.strip() or not usable:
            raise ConfigurationError(
                f"llmeval_prices has the line {line!r}; write MODEL = PROMPT OUTPUT, "
                "in US dollars for a million tokens: gpt-4.1-mini = 0.40 1.60"
            )
        prices[name.strip()] = (prompt, output)
    return prices


def check_confidence(value: object, name: str = "confidence") -> float:
    """Return a confidence that a gate can use.

    Raises:
        ConfigurationError: it is not a number between 0.5 and 1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigurationError(f"{name} = {value!r} is not a number such as 0.95")
    if not 0.5 <= value < 1:
        hint = f"; did you mean {value / 100:g}?" if 50 <= value < 100 else ""
        raise ConfigurationError(
            f"{name} = {value!r} must be at least 0.5 and below 1{hint}"
        )
    return float(value)


def nearest(word: str, known: Sequence[str], prefix: str = "") -> str:
    """Return ``; did you mean 'x'?`` for the most similar known word, or nothing.

    Args:
        word: What was written.
        known: What may be written.
        prefix: What the known words begin with, which would make any two similar.
    """
    rests = [item.removeprefix(prefix) for item in known]
    match = difflib.get_close_matches(word.removeprefix(prefix), rests, n=1)
    return f"; did you mean {prefix + match[0]!r}?" if match else ""
