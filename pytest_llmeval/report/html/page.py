"""From a run to the text of its page."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.report.html.evaluations import evaluation_view
from pytest_llmeval.report.html.facts import baseline_facts
from pytest_llmeval.report.html.facts import run_facts
from pytest_llmeval.report.html.gates import gate_view
from pytest_llmeval.report.html.table import MOST_ROWS
from pytest_llmeval.report.html.table import make_table
from pytest_llmeval.report.run import ReportedRun
from pytest_llmeval.text import redactor
from pytest_llmeval.text import safe


if TYPE_CHECKING:
    import jinja2


FOLDER = Path(__file__).parent
LONGEST_TEXT = 10_000
"""Characters of one text outside the table, such as that of a gate."""


def write_page(run: ReportedRun, path: Path) -> None:
    """Write a run's page, in one step.

    Raises:
        ConfigurationError: the file cannot be written, or the run's rows not read.
    """
    text = render_page(run)
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise ConfigurationError(
            f"cannot write {path}: {error.strerror}; name a file in a folder that can "
            "be written"
        ) from None


def render_page(run: ReportedRun) -> str:
    """Return a run as one HTML document.

    Raises:
        ConfigurationError: the run's rows, or the baseline's, cannot be read.
    """
    evaluations = run.verdict["evaluations"]
    views = [evaluation_view(run, evaluation) for evaluation in evaluations]
    table = make_table([view.part for view in views])
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    return _template().render(
        policy=_policy(style, script),
        style=style,
        script=script,
        data=table.json,
        table=table,
        rows=sum(len(view.part.rows) for view in views),
        most_rows=MOST_ROWS,
        verdict=run.verdict,
        deployment=run.deployment,
        facts=run_facts(run),
        gates=[gate_view(gate, run.verdict) for gate in run.verdict["gates"]],
        undecided=run.undecided,
        evaluations=views,
        baseline=baseline_facts(run),
        made_at=time.strftime("%Y-%m-%d %H:%M:%S %Z"),
    )


def _policy(style: str, script: str) -> str:
    """Return a policy that lets through two texts, and no address."""
    return (
        f"default-src 'none'; style-src '{_source(style)}'; "
        f"script-src '{_source(script)}'; base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _template() -> jinja2.Template:
    """Return the page's template: no text goes in that is not safe and escaped."""
    import jinja2

    redact = redactor()

    def finalize(value: Any) -> Any:
        plain = isinstance(value, str) and not hasattr(value, "__html__")
        return safe(value, LONGEST_TEXT, redact) if plain else value

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")
