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
NOT_ASKED = (
    "its hook pytest_llmeval_gate is known to xdist workers only, so nobody asked it; "
    "put it into a module that the ini value llmeval_plugins names, or into the "
    "conftest.py of a folder that the command names"
)


def add_plugins(
    verdict: Mapping[str, Any],
    hook: pluggy.HookRelay,
    rootdir: Path,
    of_workers: Mapping[str, set[str]],
) -> dict[str, Any]:
    """Return a verdict with the vetoes of plugins, and the names of those that deploy.

    A veto blocks a verdict that passes; nothing makes one pass.

    Args:
        verdict: As it was judged.
        hook: The hooks of this process.
        rootdir: What the names of files start from.
        of_workers: For each hook the plugins of xdist workers that implement it; one
            that this process lacks and cannot ask is a veto.
    """
    vetoes = [
        *_vetoes(verdict, hook.pytest_llmeval_gate, rootdir),
        *_missed(hook.pytest_llmeval_gate, rootdir, of_workers),
    ]
    blocked: dict[str, Any] = {}
    if vetoes and verdict["status"] == "pass":
        (first, *_) = vetoes
        detail = f"{first['plugin']}: {first['message']}"
        blocked = {"status": "fail", "reason": "VETOED", "detail": detail}
    known = plugin_names(hook.pytest_llmeval_deploy, rootdir)
    deploy_hooks = sorted({*known, *of_workers.get("pytest_llmeval_deploy", ())})
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
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # pytest.fail, sys.exit too
            said = f"it failed: {type(error).__name__}: {error}"
        if said is None:
            continue
        for one in said if isinstance(said, (list, tuple)) else [said]:
            is_sentence = isinstance(one, str) and one
            message = one if is_sentence else f"{one!r} is neither a sentence nor None"
            yield {"plugin": plugin, "message": one_line(message, LONGEST_VETO)}


def _missed(
    caller: pluggy.HookCaller, rootdir: Path, of_workers: Mapping[str, set[str]]
) -> Iterator[dict[str, str]]:
    known = plugin_names(caller, rootdir)
    for plugin in sorted(
        of_workers.get("pytest_llmeval_gate", set()).difference(known)
    ):
        yield {"plugin": plugin, "message": NOT_ASKED}
