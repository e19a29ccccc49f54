"""The hooks through which backends and users extend the product.

They are ordinary pytest hooks; outside pytest a plain pluggy manager calls the same
functions. The built-in backends are plugins like any other.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import pluggy


if TYPE_CHECKING:
    from pytest_llmeval.config import Settings
    from pytest_llmeval.history.places import HistoryPlace
    from pytest_llmeval.records import DatasetRef
    from pytest_llmeval.records import DeployTarget
    from pytest_llmeval.records import Metric
    from pytest_llmeval.records import Model
    from pytest_llmeval.records import ModelRef
    from pytest_llmeval.records import Plan
    from pytest_llmeval.records import Rows
    from pytest_llmeval.records import StoredRun
    from pytest_llmeval.records import Table
    from pytest_llmeval.records import Tracker
    from pytest_llmeval.records.traffic import TrafficRef


# pytest's own project name, so that one implementation serves both managers.
hookspec = pluggy.HookspecMarker("pytest")
hookimpl = pluggy.HookimplMarker("pytest")

BACKENDS = ("databricks", "files", "http", "llamacpp", "mlflow", "runs", "spark")


@hookspec(firstresult=True)
def pytest_llmeval_load_dataset(
    ref: DatasetRef, settings: Settings
) -> Iterable[tuple[str, Mapping[str, Any]]] | None:
    """Read a dataset's rows in order.

    Called two times or more per evaluation, in the process that evaluates; the first
    result wins. Each call reads from the beginning and gives the same rows, which is
    checked: so a dataset need not fit into memory.

    Args:
        ref: What the suite gave as ``data=``; a relative path is already resolved.
        settings: The run's settings.

    Returns:
        For each row where it stands, for error messages (``"qa.csv, line 3"``), and its
        columns; or None when the source is for somebody else.
    """


@hookspec(firstresult=True)
def pytest_llmeval_traffic(
    ref: TrafficRef, settings: Settings
) -> Iterable[Mapping[str, Any]] | None:
    """Read what production was asked and has answered.

    Called once by each ``llmeval monitor``; the first result wins.

    Args:
        ref: The source, the days, and how many calls of each day are wanted. Whoever
            gives more has them sampled; calls of other days are left out.
        settings: Of the monitor.

    Returns:
        A mapping of columns for each call, or None when it is for somebody else.
    """


@hookspec(firstresult=True)
def pytest_llmeval_open_table(
    ref: DatasetRef, settings: Settings, read: Callable[[], Rows], is_wanted: bool
) -> Table | None:
    """Open data that is evaluated where it lies.

    Called once per evaluation, in the process that evaluates, unless it is to be
    ``local``; the first result wins.

    Args:
        ref: What the suite gave as ``data=``; a relative path is already resolved.
        settings: The run's settings.
        read: Reads the rows in this process, before any preparation.
        is_wanted: Whether the suite asks for it, with ``engine="spark"``.

    Returns:
        The table, or None when the data is for this process.
    """


@hookspec(firstresult=True)
def pytest_llmeval_spark_session(settings: Settings) -> Any:
    """Give the Spark session for the fixture ``spark``.

    Called once per process, when a test or data first needs it; the first result wins.

    Args:
        settings: The run's settings.

    Returns:
        The session, and whether it may be stopped at the end.
    """


@hookspec(firstresult=True)
def pytest_llmeval_load_model(model: str, settings: Settings) -> Model | None:
    """Load the model that a string names, and resolve which one it is.

    Called once per model string and process; the first result wins. Must not send a
    request to the model.

    Args:
        model: ``scheme:name``, for example ``gguf:smollm2``.
        settings: The run's settings.

    Returns:
        The model, or None when the scheme is for somebody else.
    """


@hookspec
def pytest_llmeval_metrics() -> Sequence[Metric | Callable[..., Any]] | None:
    """Give further metrics that suites use by name.

    Called once per evaluation, in the process that evaluates; all results count, and a
    name that is taken already is an error.
    """


@hookspec(firstresult=True)
def pytest_llmeval_baseline(
    name: str, model: ModelRef, settings: Settings
) -> StoredRun | None:
    """Give the run that a change is measured against.

    Called once per name, model and process, when a gate first needs it; the first
    result wins. Raises BaselineError when the name is known and there is no usable run.

    Args:
        name: What the suite calls it: an alias, a version, a run id or a path.
        model: The model under test; its aliases are those of the session's start.
        settings: The run's settings.

    Returns:
        The run, or None when the name is for somebody else.
    """


@hookspec(firstresult=True)
def pytest_llmeval_metric(item: Any) -> Metric | None:
    """Make a metric of an object of another library, such as an MLflow scorer.

    Called for each object in ``metrics=``, in the fixture ``llmeval_metrics`` and from
    `pytest_llmeval_metrics` that is neither a name nor a `Metric`, once per evaluation,
    in the process that evaluates; the first result wins.

    Args:
        item: What the suite gave.

    Returns:
        The metric, or None when the object is for somebody else; functions are metrics
        without any hook.
    """


@hookspec(firstresult=True)
def pytest_llmeval_tracker(uri: str, settings: Settings) -> Tracker | None:
    """Give the tracker that keeps finished runs.

    Called in the controller, when the last request was answered or when a test asks
    for the tracked run, and by ``llmeval sync``; the first result wins. Raises
    ConfigurationError when the store does not answer, and may be called again then.

    Args:
        uri: Where runs are kept, for example ``sqlite:///mlflow.db``.
        settings: The run's settings.
    """


@hookspec(firstresult=True)
def pytest_llmeval_history_place(place: str, settings: Settings) -> HistoryPlace | None:
    """Give the place of history tables that a string names.

    Called once per export, in the controller or by ``llmeval export``; the first
    result wins. Raises ConfigurationError when the place cannot be used.

    Args:
        place: As the user wrote it, for example ``main.evals``.
        settings: The run's settings.

    Returns:
        The place, or None when it is for somebody else.
    """


@hookspec
def pytest_llmeval_gate(verdict: Mapping[str, Any]) -> str | Sequence[str] | None:
    """Say why a run must not go live, whatever its gates say.

    Called once per run, in the controller, at the final exit status and before the
    verdict is written; every implementation is called, with a copy. It can only block:
    a passing verdict fails then with the reason VETOED. To raise is a veto too.

    Args:
        verdict: What ``verdict.json`` is about to say.

    Returns:
        A sentence, or several; None where nothing speaks against it.
    """


@hookspec(firstresult=True)
def pytest_llmeval_deploy_target(
    target: str, settings: Settings
) -> DeployTarget | None:
    """Give the target that a string names, for example ``registry:qa@champion``.

    Called once per deployment and target, in the controller, after the verdict; the
    first result wins.
    """


@hookspec
def pytest_llmeval_deploy(verdict: Mapping[str, Any], plan: Sequence[Plan]) -> None:
    """Do what else belongs to a deployment.

    Called once all targets are live and read back; every implementation is called. To
    raise means that the deployment failed: every target goes back to what was live.
    Belongs in an installed plugin or a module that the ini value ``llmeval_plugins``
    names, where ``llmeval deploy`` finds it too.

    Args:
        verdict: The content of ``verdict.json``; it passed.
        plan: What was done, one for each target.
    """


def register_backends(manager: pluggy.PluginManager) -> None:
    """Add the built-in backends to a plugin manager that has the specifications.

    Called when a run first evaluates, not at load: their hooks are marked trylast, so
    that an implementation of the user's is always asked first.
    """
    for name in BACKENDS:
        path = f"pytest_llmeval.backends.{name}"
        if not manager.has_plugin(path):
            manager.register(importlib.import_module(path), name=path)


def plugin_names(caller: pluggy.HookCaller, rootdir: Path) -> list[str]:
    """Return the names of the plugins that implement a hook, sorted."""
    found = caller.get_hookimpls()
    return sorted({shown_name(one.plugin_name, rootdir) for one in found})


def shown_name(plugin: str, rootdir: Path) -> str:
    """Return a plugin's name; that of a conftest.py is its path from the rootdir."""
    path = Path(plugin)
    return str(path.relative_to(rootdir)) if path.is_relative_to(rootdir) else plugin


def headless_manager() -> pluggy.PluginManager:
    """Return a manager with the built-in backends, for use without pytest."""
    manager = pluggy.PluginManager("pytest")
    manager.add_hookspecs(importlib.import_module(__name__))
    register_backends(manager)
    return manager
