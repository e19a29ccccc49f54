"""Between the workers of pytest-xdist and their controller; loaded with xdist only.

Down, at the start: which run it is. Up, with the reports: what the tests decided, as
JSON in an attribute that xdist carries along. Rows go by files.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import asdict
from typing import TYPE_CHECKING
from typing import Any

import pytest

from pytest_llmeval.records import to_text


if TYPE_CHECKING:
    from pytest_llmeval.pytest_plugin import LLMEvalPlugin


ATTRIBUTE = "llmeval"
"""Of a report, and of ``workerinput`` and ``workeroutput``."""


class WorkerSide:
    """Sends what the tests of this worker come to."""

    def __init__(self, config: pytest.Config, plugin: LLMEvalPlugin) -> None:
        self._config, self._plugin = config, plugin

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put the news on a report."""
        # With every phase, because the controller of -x does not wait for the last one.
        report = yield
        news = self._plugin.take_news(item.nodeid)
        if news:
            setattr(report, ATTRIBUTE, to_text(news))
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_report_to_serializable(
        self,
    ) -> Generator[None, dict[str, Any], dict[str, Any]]:
        """Escape lone surrogates: xdist loses such a report, and may end green then."""
        data = yield
        try:
            json.dumps(data, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return _without_surrogates(data)  # type: ignore[no-any-return]  # a dict
        except (TypeError, ValueError):
            return data  # something that xdist will refuse by name
        return data

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Leave the rest of the news for xdist to send."""
        output: dict[str, Any] = self._config.workeroutput  # type: ignore[attr-defined]
        output[ATTRIBUTE] = to_text(self._plugin.take_last_news())


class ControllerSide:
    """Gathers what the workers send."""

    def __init__(self, plugin: LLMEvalPlugin) -> None:
        self._plugin = plugin

    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker which run it is part of."""
        start = asdict(self._plugin.start)
        node.workerinput[ATTRIBUTE] = {"start": start, "key": self._plugin.signing_key}

    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Note the tests: the controller collects none itself."""
        self._plugin.collected(ids)

    @pytest.hookimpl(tryfirst=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take the last news of a worker, or note that it is lost."""
        output = getattr(node, "workeroutput", None) or {}
        news = output.get(ATTRIBUTE)
        if error == "keyboard-interrupt":  # of a worker that has said that it is down
            return
        if error is not None or news is None:
            self._plugin.lose(node.gateway.id)
        else:
            self._plugin.receive_last(node.gateway.id, json.loads(news))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the news off a report, before any other plugin sees it."""
        news = report.__dict__.pop(ATTRIBUTE, None)
        node = getattr(report, "node", None)
        if news is not None and node is not None:
            self._plugin.receive(node.gateway.id, report.nodeid, json.loads(news))


def _without_surrogates(value: Any) -> Any:
    """Return builtins with every lone surrogate escaped, in dict keys too."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        items = value.items()
        return {_without_surrogates(k): _without_surrogates(v) for k, v in items}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_without_surrogates, value))
    return value
