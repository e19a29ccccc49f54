"""Which run speaks for the version that is live."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any

import pluggy

from pytest_llmeval.config import Settings
from pytest_llmeval.deploy.tags import identity_tags
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import DeploymentRefused
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.records import BaselineTarget
from pytest_llmeval.text import one_line


def set_baseline(
    verdict: Mapping[str, Any],
    alias: str,
    hook: pluggy.HookRelay,
    settings: Settings,
    *,
    is_tracked: bool,
) -> str:
    """Make a run the baseline of the version that an alias names.

    Args:
        verdict: The run's verdict.
        alias: Of the registered model that the run evaluated.
        hook: Gives the registry.
        settings: Where the registry is.
        is_tracked: Whether the run is uploaded.

    Returns:
        A sentence that says what was tagged.

    Raises:
        DeploymentRefused: the run is not complete, not uploaded, or about another
            version than the one that is live.
        ConfigurationError: no registry answers.
    """
    _check_speaks(verdict, is_tracked=is_tracked)
    run_id, model = verdict["run_id"], verdict["model"]
    name = model["name"]
    target = _open_baselines(f"{name}@{alias}", hook, settings)
    with _naming(f"{name}@{alias}"):
        version, before = target.live()
        if version != model["version"]:
            raise DeploymentRefused(
                "MODEL_MISMATCH",
                f"the run {run_id} evaluated version {model['version']} of {name}, and "
                f"{alias} names version {version}; evaluate that one with: pytest "
                f"evals --llmeval-model models:/{name}@{alias}",
            )
        target.mark(version, identity_tags(verdict))
    earlier = before.get("llmeval.run_id")
    instead = f", instead of {earlier}" if earlier not in (None, run_id) else ""
    return f"version {version} of {name} has the run {run_id}{instead}"


def _check_speaks(verdict: Mapping[str, Any], *, is_tracked: bool) -> None:
    """Refuse a run that does not speak for a registered model, or not to others."""
    run_id, model = verdict["run_id"], verdict["model"]
    if verdict["status"] == "incomplete":
        raise DeploymentRefused(
            "INCOMPLETE",
            f"the run {run_id} is incomplete ({verdict['reason']}); run it to its end",
        )
    if model is None or model["scheme"] != "models" or model["version"] is None:
        raise DeploymentRefused(
            "MODEL_MISMATCH",
            f"the run {run_id} gated no registered model; evaluate one with: pytest "
            "evals --llmeval-model models:/NAME@ALIAS",
        )
    if not is_tracked:
        raise DeploymentRefused(
            "NOT_TRACKED",
            f"the run {run_id} is not in MLflow, where other machines look for it; "
            f"upload it with: llmeval sync {run_id}",
        )


def find_live(
    name: str, hook: pluggy.HookRelay, settings: Settings
) -> tuple[str, Mapping[str, str]]:
    """Return the version that an alias names, and its tags.

    Args:
        name: ``NAME@ALIAS``.
        hook: Gives the registry.
        settings: Where the registry is.

    Raises:
        DeploymentRefused: no version has the alias.
        ConfigurationError: no registry answers.
    """
    target = _open_baselines(name, hook, settings)
    with _naming(name):
        return target.live()


def _open_baselines(
    name: str, hook: pluggy.HookRelay, settings: Settings
) -> BaselineTarget:
    with _naming(name):
        target = hook.pytest_llmeval_deploy_target(
            target=f"registry:{name}", settings=settings
        )
    if not isinstance(target, BaselineTarget):
        raise ConfigurationError(f"registry:{name} keeps no baselines")
    return target


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Turn what a registry raises into an error that names the alias."""
    try:
        yield
    except LLMEvalError:
        raise
    except Exception as error:  # a remote registry's
        raise ConfigurationError(
            f"the registry does not give {name}: {type(error).__name__}: "
            f"{one_line(error, 300)}"
        ) from error
