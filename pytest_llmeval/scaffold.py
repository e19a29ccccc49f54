"""What ``llmeval init`` writes, and which step it says comes next."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from pytest_llmeval.errors import ConfigurationError


INI = """\
[pytest]
llmeval_model = gguf:smollm2
llmeval_confidence = 0.95
"""

SUITE = '''\
"""A first evaluation: ten short questions to the model under test.

Run it with: pytest evals/
"""

from pytest_llmeval import assert_metric


def test_answers_short_questions(evaluate):
    results = evaluate(
        data="data/questions.jsonl",
        metrics=["contains", "token_f1"],
        params={"system": "Answer the question in one short sentence."},
    )
    # Ten rows prove little: with 10 of 10 right, the lower bound at 95 % confidence is
    # 0.741, so a bar up to that passes.
    assert_metric(results, "contains", ">=", 0.7)

    # This bar is out of reach for ten rows. Take the comment sign away to see
    # "inconclusive", and how many rows would decide.
    # assert_metric(results, "contains", ">=", 0.9)
'''

ROWS = """\
{"id": "france", "question": "What is the capital of France?", "answer": "Paris"}
{"id": "italy", "question": "What is the capital of Italy?", "answer": "Rome"}
{"id": "japan", "question": "What is the capital of Japan?", "answer": "Tokyo"}
{"id": "spain", "question": "What is the capital of Spain?", "answer": "Madrid"}
{"id": "egypt", "question": "What is the capital of Egypt?", "answer": "Cairo"}
{"id": "planet", "question": "What planet do we live on?", "answer": "Earth"}
{"id": "legs", "question": "How many legs does a dog have?", "answer": "four"}
{"id": "sky", "question": "What color is a clear sky?", "answer": "blue"}
{"id": "bees", "question": "What do bees make?", "answer": "honey"}
{"id": "ocean", "question": "What is the largest ocean?", "answer": "Pacific"}
"""

GITIGNORE = """\
.llmeval/
mlflow.db
mlartifacts/
"""

CONFIG_FILES = ("pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")


def write_project(folder: Path, say: Callable[[str], None]) -> None:
    """Write a first suite where it is missing; never change a file that is there.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    files = {
        "evals/test_questions.py": SUITE,
        "evals/data/questions.jsonl": ROWS,
        ".gitignore": GITIGNORE,
    }
    present = [name for name in CONFIG_FILES if (folder / name).exists()]
    if not present:
        files["pytest.ini"] = INI
    try:
        for name, text in files.items():
            path = folder / name
            if path.exists():
                say(f"kept   {name}, which is there already")
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            say(f"wrote  {name}")
    except OSError as error:
        raise ConfigurationError(f"cannot write in {folder}: {error}") from None
    if present and not _is_configured(folder / present[0]):
        say(f"add to the pytest section of {present[0]}:")
        for line in INI.splitlines()[1:]:
            key, _, value = line.partition(" = ")
            quoted = f'"{value}"' if present[0] == "pyproject.toml" else value
            say(f"    {key} = {quoted}")


def _is_configured(path: Path) -> bool:
    return "llmeval_model" in path.read_text(encoding="utf-8", errors="replace")


def next_step(model_path: Path | None) -> str:
    """Return the one step that is missing before the first run."""
    if importlib.util.find_spec("xllamacpp") is None:
        return 'next: pip install "pytest-llmeval-gate[local]"'
    if model_path is None:
        return "next: llmeval model pull smollm2"
    return "next: pytest evals/"
