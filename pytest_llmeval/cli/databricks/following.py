"""Follows a run to its end, and makes an exit status of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmeval.cli.console import say
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.records.jobs import asked_files
from pytest_llmeval.text import one_line
from pytest_llmeval.text import safe


if TYPE_CHECKING:
    import pluggy
    from databricks.sdk import WorkspaceClient

    from pytest_llmeval.backends.databricks.runs import Look
    from pytest_llmeval.backends.databricks.watching import Interruptions
    from pytest_llmeval.backends.databricks.watching import Watch
    from pytest_llmeval.config import Settings
    from pytest_llmeval.records.jobs import JobResult


NO_RESULT_STATUS = 13
INTERRUPTED_STATUS = 130
ANSWER_S = 60.0
Act = Callable[["Settings", "WorkspaceClient"], int]


def in_workspace(act: Act, paths: Sequence[str] = ()) -> int:
    """Call what needs the project's settings and a workspace; return its exit status.

    Args:
        act: Is called in the project.
        paths: What is to be run, from which pytest finds the project's root.
    """
    from pytest_llmeval.backends.databricks.watching import LostRun
    from pytest_llmeval.backends.databricks.workspace import WorkspaceError
    from pytest_llmeval.backends.databricks.workspace import open_client
    from pytest_llmeval.project import run_in_project

    def call(settings: Settings, manager: pluggy.PluginManager) -> int:
        try:
            return act(settings, open_client(ANSWER_S))
        except (WorkspaceError, LostRun) as error:
            say(f"llmeval: {error}")
            return NO_RESULT_STATUS

    return run_in_project(paths, call)


@contextmanager
def ending(client: WorkspaceClient, run_id: int) -> Iterator[None]:
    """Cancel a run that nobody would know of: it is not told, or cannot be shown.

    Raises:
        WorkspaceError: what was refused.
        OSError: nobody reads what we say any more.
    """
    from pytest_llmeval.backends.databricks.runs import Runs
    from pytest_llmeval.backends.databricks.workspace import WorkspaceError

    try:
        yield
    except WorkspaceError as error:
        Runs(client).cancel(run_id)
        raise WorkspaceError(f"{error}; the run is being cancelled") from error
    except OSError:
        Runs(client).cancel(run_id)
        raise


@dataclass(frozen=True, kw_only=True)
class Following:
    """A run that was started, and where its results go."""

    run_id: int
    parameters: Sequence[str]
    """Of the entry point, with the run's number in them."""
    settings: Settings
    client: WorkspaceClient
    is_ours: bool
    """Whether this command has given its arguments; else they replace no file here."""

    @classmethod
    def of(cls, run_id: int, settings: Settings, client: WorkspaceClient) -> Following:
        """Follow a run that somebody else has started.

        Raises:
            ConfigurationError: it is no run of a suite.
        """
        from pytest_llmeval.backends.databricks.runs import Runs
        from pytest_llmeval.backends.databricks.task import parameter

        look = Runs(client).look(run_id)
        if parameter(look.parameters, "--out") is None:
            raise ConfigurationError(
                f"the run {run_id} is none of a suite that llmeval has started: its "
                f"task has no --out; see {one_line(look.url)}"
            )
        return cls(
            run_id=run_id,
            parameters=look.parameters,
            settings=settings,
            client=client,
            is_ours=False,
        )

    @property
    def out(self) -> str:
        """The folder in a Volume where it leaves its results."""
        from pytest_llmeval.backends.databricks.storage import check_volume
        from pytest_llmeval.backends.databricks.task import parameter

        return check_volume(parameter(self.parameters, "--out") or "")

    def check(self, parameters: Sequence[str]) -> None:
        """Refuse a run of something else, which the same token has started before.

        Raises:
            ConfigurationError: these parameters are others.
        """
        if list(parameters) != list(self.parameters):
            raise ConfigurationError(
                f"the same token has started the run {self.run_id} before, with "
                "another suite, wheel or compute, or other arguments, and starts no "
                "second one; give another --token, or none"
            )

    def wait(self, interruptions: Interruptions, timeout_s: float | None) -> int:
        """Wait until the run has ended; end it when it takes too long, or on Ctrl-C."""
        watch = self._watch()
        with ending(self.client, self.run_id):
            look = watch.until_ended(self.run_id, interruptions.wait, timeout_s)
        if not look.has_ended:
            look = watch.cancel(self.run_id)
        status = self._finish(watch, look)
        return INTERRUPTED_STATUS if interruptions.noted else status

    def look_on(self) -> int:
        """Wait until the run has ended; Ctrl-C leaves it alone."""
        watch = self._watch()
        try:
            look = watch.until_ended(self.run_id, _sleep, None)
        except KeyboardInterrupt:
            say(f"the run goes on; again: llmeval databricks wait {self.run_id}")
            return INTERRUPTED_STATUS
        return self._finish(watch, look)

    def _watch(self) -> Watch:
        from pytest_llmeval.backends.databricks.watching import Watch

        return Watch(self.client, self.out, say)

    def _finish(self, watch: Watch, look: Look) -> int:
        """Bring what is there; the exit status is pytest's where it came to its end."""
        self.check(look.parameters)
        result = watch.result()
        if result is None or result.exit_status is None:
            for line in watch.last_words(look):
                say(f"| {safe(line, 500)}")
            say(f"llmeval: the run {self.run_id} ended without a result: {_end(look)}")
            return NO_RESULT_STATUS
        self._bring(result)
        is_green = look.result == "SUCCESS"
        if result.exit_status == 0 and not is_green:
            say(f"llmeval: the suite ended with 0, and the run did not: {_end(look)}")
            return NO_RESULT_STATUS
        return result.exit_status

    def _bring(self, result: JobResult) -> None:
        from pytest_llmeval.backends.databricks.bringing import bring_results
        from pytest_llmeval.backends.databricks.task import for_pytest
        from pytest_llmeval.report.publish import publish_markdown

        settings, asked = self.settings, asked_files(for_pytest(self.parameters))
        run, written = bring_results(
            self.client,
            self.out,
            result,
            asked,
            settings.home,
            settings.rootdir,
            overwrite=self.is_ours,
        )
        for path in written:
            say(f"wrote {path}")
        if len(written) < len(asked):
            say("a report is not written: the job has not, or its file is there")
        if run is None:
            say(f"nothing was evaluated; exit status {result.exit_status}")
            return
        say(f"verdict file: {run.verdict}")
        places = {"verdict file": str(run.verdict), "rows": str(run.results)}
        publish_markdown(run.run_id, settings, places, lambda status, line: say(line))


def _end(look: Look) -> str:
    return f"{one_line(look, 500)}; see {one_line(look.url)}"


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False
