"""Carries out ``llmeval databricks run`` and ``wait``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmeval.cli.console import say
from pytest_llmeval.cli.databricks.following import INTERRUPTED_STATUS
from pytest_llmeval.cli.databricks.following import Following
from pytest_llmeval.cli.databricks.following import ending
from pytest_llmeval.cli.databricks.following import in_workspace
from pytest_llmeval.cli.databricks.sending import Parcel
from pytest_llmeval.cli.databricks.sending import describe
from pytest_llmeval.cli.databricks.sending import pack
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from pytest_llmeval.backends.databricks.runs import Runs
    from pytest_llmeval.config import Settings


def run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Start a run of the suite, wait for it, and bring its results back."""
    from pytest_llmeval.backends.databricks.runs import check_token
    from pytest_llmeval.backends.databricks.watching import Interruptions

    if options.token is not None:
        check_token(options.token)

    def act(settings: Settings, client: WorkspaceClient) -> int:
        parcel = pack(options, rest, settings)
        describe(parcel)
        with Interruptions() as interruptions:
            parcel.upload(client)
            if interruptions.noted:
                return INTERRUPTED_STATUS
            started = _start(options, parcel, settings, client)
            if options.detach and not interruptions.noted:
                say(f"wait for it with: llmeval databricks wait {started.run_id}")
                return 0
            return started.wait(interruptions, options.timeout * 60)

    return in_workspace(act, options.paths)


def wait(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Wait for a run that was started, and bring its results back."""
    if rest:
        raise ConfigurationError(f"wait takes no arguments for pytest: {rest[0]!r}")

    def act(settings: Settings, client: WorkspaceClient) -> int:
        return Following.of(options.run_id, settings, client).look_on()

    return in_workspace(act)


def _start(
    options: argparse.Namespace,
    parcel: Parcel,
    settings: Settings,
    client: WorkspaceClient,
) -> Following:
    from pytest_llmeval.backends.databricks.runs import Runs
    from pytest_llmeval.backends.databricks.runs import make_token
    from pytest_llmeval.backends.databricks.runs import short_digest
    from pytest_llmeval.backends.databricks.task import job_settings
    from pytest_llmeval.backends.databricks.workspace import WorkspaceError

    planned = job_settings(parcel.work(parcel.volume), parcel.compute, client)
    token = options.token or make_token(planned)
    # With a digest, so that the run of something else is known by its parameters.
    work = parcel.work(f"{parcel.volume}/runs/{token}-{short_digest(planned)}")
    job = job_settings(work, parcel.compute, client)
    name = options.name or f"llmeval {settings.rootdir.name}"
    runs = Runs(client)
    try:
        run_id = runs.submit(
            job, name=name, token=token, timeout_s=options.timeout * 60
        )
    except WorkspaceError as error:
        if not error.is_passing:
            raise
        raise WorkspaceError(
            f"{error}. Whether a run was started is not known; the same command with "
            f"--token {token} finds it, or starts it"
        ) from error
    following = Following(
        run_id=run_id,
        parameters=work.parameters,
        settings=settings,
        client=client,
        is_ours=True,
    )
    with ending(client, run_id):
        _show(runs, following)
    return following


def _show(runs: Runs, following: Following) -> None:
    """Say where a run is shown; it is there, even where that is not told."""
    from pytest_llmeval.backends.databricks.workspace import WorkspaceError

    try:
        look = runs.look(following.run_id)
    except WorkspaceError as error:
        say(f"run {following.run_id}: {error}")
        return
    following.check(look.parameters)
    say(f"run {following.run_id}: {one_line(look.url)}")
