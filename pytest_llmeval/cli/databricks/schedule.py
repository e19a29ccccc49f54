"""Carries out ``llmeval databricks schedule ...``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC
from datetime import datetime
from typing import TYPE_CHECKING

from pytest_llmeval.cli.console import say
from pytest_llmeval.cli.databricks.following import Following
from pytest_llmeval.cli.databricks.following import ending
from pytest_llmeval.cli.databricks.following import in_workspace
from pytest_llmeval.cli.databricks.sending import describe
from pytest_llmeval.cli.databricks.sending import pack
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.text import safe


if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from pytest_llmeval.backends.databricks.schedules import Notifications
    from pytest_llmeval.config import Settings


TIMES_SHOWN = 3


def set_schedule(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Create or change a schedule."""
    from pytest_llmeval.backends.databricks.cron import check_schedule
    from pytest_llmeval.backends.databricks.runs import RUN_ID
    from pytest_llmeval.backends.databricks.schedules import Schedules
    from pytest_llmeval.backends.databricks.schedules import schedule_settings
    from pytest_llmeval.backends.databricks.task import job_settings

    check_schedule(options.cron, options.timezone)
    told = _notifications(options)

    def act(settings: Settings, client: WorkspaceClient) -> int:
        _check_deployment(options, settings)
        parcel = pack(options, rest, settings, lasting=True)
        describe(parcel)
        work = parcel.work(
            f"{parcel.volume}/runs/{RUN_ID}",
            deploy=options.deploy,
            rollback=options.rollback,
        )
        job = schedule_settings(
            options.name,
            job_settings(work, parcel.compute, client),
            cron=options.cron,
            zone=options.timezone,
            timeout_s=options.timeout * 60,
            told=told,
        )
        parcel.upload(client)
        job_id, changed = Schedules(client).set(job)
        what = ", ".join(changed) if changed else "unchanged"
        say(f"schedule {options.name}, job {job_id}: {what}")
        _say_next(options)
        return 0

    return in_workspace(act, options.paths)


def show_all(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """List the schedules, with how the newest run of each went."""

    def act(settings: Settings, client: WorkspaceClient) -> int:
        from pytest_llmeval.backends.databricks.schedules import Schedules

        schedules = Schedules(client)
        found = sorted(schedules.all(), key=lambda one: (one.name, one.job_id))
        for one in found:
            state = "paused" if one.is_paused else "on"
            last = schedules.last_run(one.job_id) or "no run yet"
            line = f"{one.name}  job {one.job_id}  {one.cron} {one.zone}  {state}"
            say(safe(f"{line}  last run: {last}", 500))
        if not found:
            say("no schedule; make one with: llmeval databricks schedule set")
        return 0

    return in_workspace(act)


def pause(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Let a schedule rest, or go on."""

    def act(settings: Settings, client: WorkspaceClient) -> int:
        from pytest_llmeval.backends.databricks.schedules import Schedules

        schedules = Schedules(client)
        paused = options.schedule_command == "pause"
        schedules.pause(schedules.find(options.name), paused=paused)
        say(f"schedule {options.name}: {'paused' if paused else 'on'}")
        return 0

    return in_workspace(act)


def delete(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Delete a schedule."""

    def act(settings: Settings, client: WorkspaceClient) -> int:
        from pytest_llmeval.backends.databricks.schedules import Schedules

        schedules = Schedules(client)
        schedules.delete(schedules.find(options.name))
        say(f"schedule {options.name}: deleted; its results stay in the volume")
        return 0

    return in_workspace(act)


def run_now(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Start a schedule's job now, wait for it, and bring its results back."""
    from pytest_llmeval.backends.databricks.watching import Interruptions

    def act(settings: Settings, client: WorkspaceClient) -> int:
        from pytest_llmeval.backends.databricks.runs import Runs
        from pytest_llmeval.backends.databricks.runs import check_token
        from pytest_llmeval.backends.databricks.runs import make_token
        from pytest_llmeval.backends.databricks.runs import parameters_of
        from pytest_llmeval.backends.databricks.schedules import Schedules

        schedules, given = Schedules(client), options.token
        job_id = schedules.find(options.name)[0].job_id
        job = {"job": job_id, **schedules.settings(job_id)}
        token = make_token(job) if given is None else check_token(given)
        with Interruptions() as interruptions:
            run_id = Runs(client).start(job_id, token)
            with ending(client, run_id):
                say(f"run {run_id} of the schedule {options.name}")
                following = Following.of(run_id, settings, client)
                following.check(parameters_of(job["tasks"][:1], run_id))
            return following.wait(interruptions, None)

    return in_workspace(act)


def _notifications(options: argparse.Namespace) -> Notifications:
    from pytest_llmeval.backends.databricks.schedules import Notifications

    if options.notify_on and not (options.email or options.webhook):
        raise ConfigurationError(
            "--notify-on says when, and nothing says who; add --email or --webhook"
        )
    for address in options.email:
        if "@" not in address:
            raise ConfigurationError(f"--email {address!r:.200} is no e-mail address")
    moments = tuple(dict.fromkeys(options.notify_on)) or ("failure",)
    return Notifications(tuple(options.email), tuple(options.webhook), moments)


def _check_deployment(options: argparse.Namespace, settings: Settings) -> None:
    """Refuse at once what the job would refuse every time."""
    from pytest_llmeval.deploy.refusals import known_refusal
    from pytest_llmeval.provenance import read_provenance

    if options.deploy is None:
        if options.rollback:
            raise ConfigurationError("--rollback needs --deploy TARGET")
        return
    refusal = known_refusal(
        settings,
        read_provenance(settings.rootdir),
        has_manifest=settings.manifest_path.exists(),
    )
    if refusal is not None:
        raise refusal


def _say_next(options: argparse.Namespace) -> None:
    from pytest_llmeval.backends.databricks.cron import next_times

    now = datetime.now(UTC)
    for moment in next_times(options.cron, options.timezone, now, TIMES_SHOWN):
        say(f"next: {moment:%Y-%m-%d %H:%M:%S} {options.timezone}")
