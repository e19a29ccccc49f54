"""What plugins add to a verdict: vetoes, and that they take part in deployments."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pluggy

from pytest_llmeval.hooks import plugin_names
from pytest_llmeval.hooks import shown_name
from pytest_llmeval.text import one_line


LONGEST_VETO = 500


def add_plugins(
    verdict: Mapping[str, Any], hook: pluggy.HookRelay, rootdir: Path
) -> dict[str, Any]:
    """Return a verdict with the vetoes of plugins, and the names of those that deploy.

    A veto blocks a verdict that passes; nothing makes one pass.
    """
    vetoes = list(_vetoes(verdict, hook.pytest_llmeval_gate, rootdir))
    blocked: dict[str, Any] = {}
    if vetoes and verdict["status"] == "pass":
        (first, *_) = vetoes
        detail = f"{first['plugin']}: {first['message']}"
        blocked = {"status": "fail", "reason": "VETOED", "detail": detail}
    deploy_hooks = plugin_names(hook.pytest_llmeval_deploy, rootdir)
    return {**verdict, **blocked, "vetoes": vetoes, "deploy_hooks": deploy_hooks}


def _vetoes(
    verdict: Mapping[str, Any], caller: pluggy.HookCaller, rootdir: Path
) -> Iterator[dict[str, str]]:
    for found in caller.get_hookimpls():
        plugin = shown_name(found.plugin_name, rootdir)
        try:
            # Of its own: what it changes is not what is written.
            given = {"verdict": copy.deepcopy(dict(verdict))}
            said = found.function(*(given[name] for name in found.argnames))
        except Exception as error:  # noqa: BLE001  # a check that fails does not pass
            said = f"it failed: {type(error).__name__}: {error}"
        if said is None:
            continue
        for one in said if isinstance(said, (list, tuple)) else [said]:
            is_sentence = isinstance(one, str) and one
            message = one if is_sentence else f"{one!r} is neither a sentence nor None"
            yield {"plugin": plugin, "message": one_line(message, LONGEST_VETO)}
