"""Tells channels what has changed, now or when they next take it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pytest_llmeval.monitor.judge import Finding
from pytest_llmeval.monitor.states import Change
from pytest_llmeval.monitor.states import States
from pytest_llmeval.monitor.webhook import NotSent
from pytest_llmeval.monitor.webhook import send


class Told(NamedTuple):
    """What has changed, and whether everybody was told."""

    changes: list[Change]
    failures: list[str]
    """For each channel that takes nothing: why."""


def tell(
    folder: Path,
    model: str,
    findings: Sequence[Finding],
    channels: Mapping[str, str],
    now: datetime.datetime,
    remind: datetime.timedelta | None = None,
) -> Told:
    """Keep the states, and send what channels have not had yet.

    Args:
        folder: Of the file of states.
        model: Whose series they are.
        findings: The states.
        channels: URLs by name.
        now: The time.
        remind: See `States.note`.

    Raises:
        ConfigurationError: the states cannot be kept.
    """
    with States.locked(folder) as states:
        changes = states.note(model, findings, list(channels), now, remind)
        failures: dict[str, str] = {}
        for message in states.waiting(list(channels)):
            if message.channel in failures:
                continue  # in order, or not at all
            try:
                send(channels[message.channel], message.text)
            except NotSent as error:
                failures[message.channel] = f"{message.channel}: {error}"
            else:
                states.sent(message)
    return Told(changes, list(failures.values()))
