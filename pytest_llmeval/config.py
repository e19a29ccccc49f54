"""Settings of a run: one table of options, one frozen value, and where it came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

from pytest_llmeval.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One setting: its names on the command line and in the ini file."""

    field: str
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
        "attempts times this, plus the waits between attempts",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run was asked to do. Built once; the engine gets values."""

    rootdir: Path = field(default_factory=Path.cwd)
    model: str | None = None
    concurrency: int = 32
    timeout_s: float = 60.0
    attempts: int = 3
    cache: str = "on"
    cache_mb: float = 1024.0
    tracking: str = "auto"
    directory: str = ".llmeval"
    require: bool = False
    deploy: str | None = None
    gates: str | None = None
    confidence: float | None = None
    manifest: str = "evals/gates.toml"
    point_gates: str = "refuse"
    reruns: str = "block"
    deploy_refs: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    """For each field that was set: the option or ini name that set it."""

    @property
    def home(self) -> Path:
        """The folder for runs and stored predictions."""
        return self.rootdir / self.directory

    @property
    def tracking_uri(self) -> str:
        """The MLflow store; the registry needs one also when tracking is off."""
        if self.tracking not in ("auto", "off"):
            return self.tracking
        default = f"sqlite:///{self.rootdir / 'mlflow.db'}"
        return os.environ.get("MLFLOW_TRACKING_URI") or default

    @property
    def manifest_path(self) -> Path:
        """The gate manifest."""
        return self.rootdir / self.manifest


def build_settings(
    rootdir: Path, options: Mapping[str, Any], ini: Mapping[str, str]
) -> Settings:
    """Merge command line and ini file, the command line first.

    Args:
        rootdir: Folder that relative paths start from.
        options: Values by option name; None where not given.
        ini: Values by ini name; an empty string where not given.

    Raises:
        ConfigurationError: a value cannot be used.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for option in OPTIONS:
        name, given = option.option, options.get(option.option or "")
        if given in (None, False):
            name, given = option.ini, ini.get(option.ini or "", "").strip() or None
        if given is not None and name is not None:
            values[option.field] = _parse(option, name, given)
            sources[option.field] = name
    return Settings(rootdir=rootdir, sources=sources, **values)


def _parse(option: Option, name: str, given: Any) -> Any:
    if option.flag:
        return bool(given)
    if option.choices and given not in option.choices:
        raise ConfigurationError(
            f"{name} = {given!r} is not one of: {', '.join(option.choices)}"
            + nearest(str(given), option.choices)
        )
    try:
        value = option.type(given)
    except ValueError:
        kind = {int: "a whole number", float: "a number"}[option.type]
        raise ConfigurationError(f"{name} = {given!r} is not {kind}") from None
    if option.least is not None and not value >= option.least:
        raise ConfigurationError(f"{name} = {given!r} must be at least {option.least}")
    if option.field == "confidence":
        check_confidence(value, name)
    return value


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


def nearest(word: str, known: Sequence[str]) -> str:
    """Return ``; did you mean 'x'?`` for the most similar known word, or nothing."""
    import difflib  # not at the top: the plugin loads this module in every pytest run

    match = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {match[0]!r}?" if match else ""
