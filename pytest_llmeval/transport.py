"""Between the workers of pytest-xdist and their controller; loaded with xdist only.

Down, at the start: which run it is. Up, with the reports: what the tests decided, as
JSON in an attribute that xdist carries along. Rows go by files.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Generator
from dataclasses import asdict
from itertools import count
from typing import TYPE_CHECKING
from typing import Any

import execnet
import pytest

from pytest_llmeval.hooks import plugin_names
from pytest_llmeval.records import to_text


if TYPE_CHECKING:
    from pytest_llmeval.pytest_plugin import LLMEvalPlugin


ATTRIBUTE = "llmeval"
"""Of a report, and of ``workerinput`` and ``workeroutput``."""
HOOKS = ("pytest_llmeval_gate", "pytest_llmeval_deploy")
"""Called in the controller, which collects nothing and so lacks files of theirs."""


class WorkerSide:
    """Sends what the tests of this worker come to."""

    def __init__(self, config: pytest.Config, plugin: LLMEvalPlugin) -> None:
        self._config, self._plugin = config, plugin

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Put the news on a report that xdist is about to send."""
        # Not when it is made: a plugin that tries tests again may drop it. With every
        # phase, because the controller of -x does not wait for the last one.
        news = self._take_news()
        if news:
            setattr(report, ATTRIBUTE, to_text(news))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_report_to_serializable(
        self,
    ) -> Generator[None, dict[str, Any], dict[str, Any]]:
        """Keep a report from what it must not hold: xdist ends, or loses it."""
        data = yield
        return data if _is_sendable(data) else _sendable(data)

    @pytest.hookimpl(tryfirst=True)
    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        """Keep a warning from lone surrogates, which end the session of xdist."""
        message = warning_message.message
        if isinstance(message, Warning) and not _is_sendable(str(message)):
            message.args = _sendable(message.args)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Leave the rest of the news for xdist to send."""
        output: dict[str, Any] = self._config.workeroutput  # type: ignore[attr-defined]
        output[ATTRIBUTE] = to_text(
            {
                **self._take_news(),
                "took_part": self._plugin.outbox is not None,
                "selection": self._plugin.evidence.selection,
                "hooks": {name: self._conftests(name) for name in HOOKS},
            }
        )

    def _conftests(self, hook: str) -> list[str]:
        """Return the files conftest.py of this worker that implement a hook."""
        caller = getattr(self._config.hook, hook)
        names = plugin_names(caller, self._config.rootpath)
        return [name for name in names if name.endswith("conftest.py")]

    def _take_news(self) -> dict[str, Any]:
        """Return what there is to tell of the test that runs."""
        outbox, evidence = self._plugin.outbox, self._plugin.evidence
        news: dict[str, Any] = outbox.take() if outbox is not None else {}
        tries = evidence.tries.get(evidence.current or "", 1)
        return {**news, "tries": tries} if tries > 1 else news


class ControllerSide:
    """Gathers what the workers send."""

    def __init__(self, plugin: LLMEvalPlugin) -> None:
        self._plugin, self._numbers = plugin, count()

    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker which run it is part of."""
        node.workerinput[ATTRIBUTE] = {
            "number": next(self._numbers),
            "start": asdict(self._plugin.start),
            "key": self._plugin.signing_key,
        }

    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Note the tests: the controller collects none itself."""
        self._plugin.evidence.collect(ids)

    @pytest.hookimpl(tryfirst=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take the last news of a worker, or note that it is lost."""
        output = getattr(node, "workeroutput", None) or {}
        news = output.get(ATTRIBUTE)
        if error == "keyboard-interrupt":  # of a worker that has said that it is down
            return
        if error is not None or news is None:
            self._plugin.evidence.lost.append(node.gateway.id)
        else:
            self._receive_last(node.gateway.id, json.loads(news))

    def _receive_last(self, worker: str, news: dict[str, Any]) -> None:
        evidence, selection = self._plugin.evidence, news.pop("selection")
        evidence.selection = evidence.selection or selection
        for hook, names in news.pop("hooks").items():
            evidence.hooks.setdefault(hook, set()).update(names)
        if news.pop("took_part"):
            self._plugin.left.append(worker)
            self._plugin.open_run().receive(worker, news)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the news off a report, before any other plugin sees it."""
        news = report.__dict__.pop(ATTRIBUTE, None)
        node = getattr(report, "node", None)
        if news is not None and node is not None:
            self._receive(node.gateway.id, report.nodeid, json.loads(news))

    def _receive(self, worker: str, test: str, news: dict[str, Any]) -> None:
        self._plugin.evidence.retried(test, news.pop("tries", 1), worker)
        if news:
            self._plugin.open_run().receive(worker, news)


def _is_sendable(value: object) -> bool:
    try:
        execnet.dumps(value)
    except execnet.DumpError:
        return False
    return True


def _sendable(value: Any) -> Any:
    """Return builtins, as text what is none; lone surrogates are escaped."""
    if isinstance(value, dict):
        return {_sendable(key): _sendable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return (tuple if isinstance(value, tuple) else list)(map(_sendable, value))
    if _is_sendable(value):
        return value
    return str(value).encode("utf-8", "backslashreplace").decode()
