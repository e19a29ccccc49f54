"""What goes to executors: a model, metrics, settings; never a secret.

A model that a string names is loaded there, with the credentials that the environment
has there. A function travels with the modules of the suite that it needs.
"""

from __future__ import annotations

import hashlib
import io
import sys
import threading
import types
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.hooks import headless_manager
from pytest_llmeval.models import CallableModel
from pytest_llmeval.models import load_model
from pytest_llmeval.records import Metric
from pytest_llmeval.records import Model
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Request
from pytest_llmeval.text import one_line
from pytest_llmeval.text import secrets_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """What one evaluation needs on an executor."""

    settings: Settings
    model: Any
    """A model string, a function with its version, or a model object."""
    ref: ModelRef
    request: Request
    metrics: Mapping[str, Metric]
    dataset: str
    columns: Mapping[str, Any]
    """As in `Dataset.columns`."""
    run_id: str


def travelling_model(given: Any, model: Model) -> Any:
    """Return what stands for a model on its way.

    Args:
        given: What the suite named it by.
        model: What that was loaded as.

    Raises:
        ModelError: it cannot travel.
    """
    ref = model.ref
    if ref.scheme == "gguf":
        raise ModelError(
            f"{ref} is a model inside this process, which Spark's executors cannot "
            "ask: serve it over HTTP, for example with llama-server, and name its "
            'address, or evaluate with engine="local"'
        )
    if isinstance(model, CallableModel):
        return model.function, ref.version
    if isinstance(given, str):
        return str(ref) if ref.scheme in ("models", "runs") else given
    return model


def pack(shipment: Shipment) -> bytes:
    """Return a shipment as bytes.

    Raises:
        ModelError: a part of it cannot travel, or holds a secret.
    """
    import cloudpickle

    buffer = io.BytesIO()
    try:
        with _suite_by_value(shipment.settings.rootdir):
            cloudpickle.Pickler(buffer).dump(shipment)
    except Exception as error:  # noqa: BLE001  # of objects of the suite
        raise ModelError(
            "the model or a metric cannot travel to Spark's executors: "
            f"{type(error).__name__}: {one_line(error, 300)}; open clients, locks and "
            "files inside the function that uses them, or name the model by a string"
        ) from None
    packed = buffer.getvalue()
    names = secrets_in(packed)
    if names:
        raise ModelError(
            f"the model or a metric holds the value of {', '.join(names)}, which must "
            "not travel: read it from the environment inside the function, and set it "
            "for the executors too (on Databricks from a secret scope: "
            "{{secrets/SCOPE/KEY}} as the value of an environment variable)"
        )
    return packed


@contextmanager
def _suite_by_value(rootdir: Path) -> Iterator[None]:
    """Ship the modules of the suite, which are installed nowhere else."""
    import cloudpickle

    modules = [one for one in list(sys.modules.values()) if _is_of_suite(one, rootdir)]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _is_of_suite(module: types.ModuleType, rootdir: Path) -> bool:
    file = getattr(module, "__file__", None)
    if not file or module.__name__.partition(".")[0] == "pytest_llmeval":
        return False
    path = Path(file)
    return path.is_relative_to(rootdir) and "site-packages" not in path.parts


class Unpacked:
    """A shipment in an executor's process: the model is loaded once for all tasks."""

    _known: dict[bytes, Unpacked] = {}  # noqa: RUF012  # shared by all, on purpose
    _lock = threading.Lock()

    def __init__(self, packed: bytes) -> None:
        import cloudpickle

        self.shipment: Shipment = cloudpickle.loads(packed)
        self._model: Model | None = None
        self._loading = threading.Lock()

    @classmethod
    def of(cls, packed: bytes) -> Unpacked:
        """Return the one of this process."""
        key = hashlib.blake2b(packed).digest()
        with cls._lock:
            if key not in cls._known:
                cls._known[key] = cls(packed)
            return cls._known[key]

    def model(self) -> Model:
        """Return the model, which is the same as where the run was started.

        Raises:
            ModelError: it is another one.
            ConfigurationError: it cannot be loaded here.
        """
        with self._loading:
            if self._model is None:
                self._model = self._load()
            return self._model

    def _load(self) -> Model:
        given, ref = self.shipment.model, self.shipment.ref
        if isinstance(given, tuple):
            function, version = given
            model: Model = CallableModel(function, version=version)
            model.ref = ref  # type: ignore[misc]  # by value its name may be another
            return model
        settings = self.shipment.settings
        try:
            model = load_model(given, headless_manager().hook, settings)
        except ConfigurationError as error:
            raise ConfigurationError(f"on an executor of Spark: {error}") from None
        if model.ref.identity() != ref.identity():
            raise ModelError(
                f"an executor of Spark found {model.ref} where {ref} is evaluated: its "
                "environment names another registry or workspace"
            )
        return model


def for_task(settings: Settings, tasks: int) -> Settings:
    """Return a task's share of what may be asked at once and in a minute."""

    def part(limit: float | None) -> float | None:
        return None if limit is None else limit / (tasks * settings.workers)

    return replace(
        settings,
        model=None,
        concurrency=max(1, settings.share // tasks),
        requests_per_minute=part(settings.requests_per_minute),
        tokens_per_minute=part(settings.tokens_per_minute),
        worker=0,
        workers=1,
        services=None,
        cache="off",
    )
