"""What ``llmeval init`` writes into a repository, and which step it says comes next."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from collections.abc import Collection
from pathlib import Path

from pytest_llmeval.scaffold.contents import Wanted
from pytest_llmeval.scaffold.contents import notes
from pytest_llmeval.scaffold.contents import wanted_files
from pytest_llmeval.scaffold.files import write_missing
from pytest_llmeval.scaffold.surroundings import Surroundings
from pytest_llmeval.scaffold.surroundings import look_around


def write_project(
    folder: Path, wanted: Collection[Wanted], say: Callable[[str], None]
) -> Surroundings:
    """Write what is missing of a suite and of its pipelines; change no file.

    Returns:
        What was seen in the folder before.

    Raises:
        ConfigurationError: the folder cannot be read or written, or a pipeline is
            wanted in a part of a repository.
    """
    seen = look_around(folder)
    write_missing(folder, wanted_files(seen, wanted), say)
    for note in notes(seen, wanted):
        say(f"note   {note}")
    return seen


def next_step(seen: Surroundings, model_path: Path | None) -> str:
    """Return the one step that is missing before the next run."""
    if seen.has_own_suite:
        has_manifest = seen.has_manifest
        return f"next: {'pytest evals/' if has_manifest else 'llmeval gates update'}"
    if seen.is_embedded:
        if importlib.util.find_spec("xllamacpp") is None:
            return 'next: pip install "pytest-llmeval-gate[local]"'
        if model_path is None:
            return "next: llmeval model pull smollm2"
    if seen.config.exists and seen.config.model is None:
        return f"next: add these lines to {seen.config.name}, and then: pytest evals/"
    return "next: pytest evals/"
