"""Whether the model under test is there, without asking it anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pytest_llmeval.backends.http import Endpoint
from pytest_llmeval.backends.http import find_endpoint
from pytest_llmeval.backends.llamacpp import KNOWN
from pytest_llmeval.backends.llamacpp import find_known
from pytest_llmeval.config import Settings
from pytest_llmeval.doctor import project
from pytest_llmeval.doctor import reach
from pytest_llmeval.doctor.findings import Finding
from pytest_llmeval.text import first_few
from pytest_llmeval.text import one_line


NOT_IMPLEMENTED = 501


def check_model(about: project.Project) -> Iterator[Finding]:
    """Look at the model that the settings name."""
    settings = about.settings
    if settings is None:
        return
    if settings.model is None:
        yield Finding(
            "note",
            "model",
            "none is configured; a fixture llmeval_model may give one, and the "
            "argument model= of evaluate",
            "or give one with --llmeval-model, or llmeval_model in the ini file",
        )
    elif "error" in about.model:
        text = f"{one_line(settings.model)}: {one_line(about.model['error'], 500)}"
        yield Finding("problem", "model", text, "correct it, or name another")
    elif "ref" not in about.model:
        text = f"{one_line(settings.model)} did not load within {project.LIMIT_S:g} s"
        yield Finding("problem", "model", text, "see whether its network hangs")
    else:
        yield _loaded(settings.model, about.model["ref"], settings)


def _loaded(model: str, ref: str, settings: Settings) -> Finding:
    endpoint = find_endpoint(model)
    if endpoint is not None:
        return _check_endpoint(one_line(model), endpoint)
    shown = f"{one_line(model)} is {one_line(ref)}"
    if model.startswith("gguf:"):
        name = model.removeprefix("gguf:")
        known = find_known(name) if name in KNOWN else None
        path = known or settings.rootdir / Path(name).expanduser()
        shown += f", {path.stat().st_size / 1e6:,.0f} MB in {one_line(path)}"
    return Finding("ok", "model", shown)


def _check_endpoint(shown: str, endpoint: Endpoint) -> Finding:
    """Ask for the list of models, which costs nothing."""
    # Evaluations use no proxy either.
    answer = reach.get(endpoint.models_url, endpoint.key, by_proxy=False)
    if isinstance(answer, str):
        return Finding(
            "problem",
            "model",
            f"{shown} does not answer: {one_line(answer)}",
            "start it, or name another with --llmeval-model",
        )
    if answer.status in (401, 403):
        variable = "OPENAI" if endpoint.scheme == "openai" else "LLMEVAL"
        return Finding(
            "problem",
            "model",
            f"{shown} refuses the key (HTTP {answer.status})",
            f"set the environment variable {variable}_API_KEY to a key that it knows",
        )
    if answer.status >= 500 and answer.status != NOT_IMPLEMENTED:
        text = f"{shown} is not well: it answers HTTP {answer.status}"
        return Finding("problem", "model", text, "look into the log of the server")
    if answer.status != 200:
        text = f"{shown} answers, and lists no models (HTTP {answer.status})"
        return Finding("ok", "model", text)
    return _check_name(shown, endpoint.name, _listed(answer.body))


def _check_name(shown: str, name: str | None, listed: list[str]) -> Finding:
    if name is None or name in listed or not listed:
        return Finding("ok", "model", f"{shown} answers")
    return Finding(
        "note",
        "model",
        f"{shown} answers, and does not list {one_line(name)}, but: "
        f"{first_few(listed)}",
        "name one of these, unless it is there all the same",
    )


def _listed(body: bytes) -> list[str]:
    """Return the names in a list of models; none where it is of another form."""
    try:
        return [str(model["id"]) for model in json.loads(body)["data"]]
    except (ValueError, KeyError, TypeError):
        return []
