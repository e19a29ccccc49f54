"""The command ``llmeval monitor``."""

from __future__ import annotations

import argparse
import datetime
import re
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.console import add_directory
from pytest_llmeval.cli.console import say
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.text import counted
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    from pytest_llmeval.monitor.watch import Order
    from pytest_llmeval.monitor.watch import Outcome
    from pytest_llmeval.records.traffic import TrafficRef


ALARM_STATUS = 20
NO_DATA_STATUS = 21
NOT_SENT_STATUS = 22
UNITS = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
MODELS = {"registry": "models:/", "serving": "endpoints:/"}


def add(commands: Commands) -> None:
    """Add the command that watches what is live."""
    monitor = commands.add_parser(
        "monitor",
        help="watch what is live: evaluate it, find drift, raise alarms",
        description="Evaluate what is live on suites and on a sample of its traffic, "
        "add the points to the history, and tell which metrics have become worse. Exit "
        f"status: 0 in order or a warning, {ALARM_STATUS} an alarm is on, "
        f"{NO_DATA_STATUS} points are missing, {NOT_SENT_STATUS} in order but for a "
        "message that was not sent, 1 or 2 for what was wrong before it began.",
        usage="llmeval monitor [PATH ...] (--target TARGET | --model MODEL) "
        "[options]\n                       [-- PYTEST ARGUMENT ...]",
        epilog="example: llmeval monitor evals/ --target registry:docs-qa@champion "
        "--traffic traces:docs-qa",
    )
    monitor.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="suites for pytest (default: none are run)",
    )
    _add_what(monitor)
    _add_traffic(monitor)
    _add_alarms(monitor)
    monitor.set_defaults(run=_run)


def _add_what(monitor: argparse.ArgumentParser) -> None:
    what = monitor.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--target",
        metavar="TARGET",
        help="what is live: registry:NAME@ALIAS or serving:ENDPOINT",
    )
    what.add_argument(
        "--model", metavar="MODEL", help="the same as pytest --llmeval-model takes it"
    )
    monitor.add_argument(
        "--check",
        action="store_true",
        help="look at the history only, and evaluate nothing (default: evaluate)",
    )
    monitor.add_argument(
        "--history",
        metavar="PLACE",
        help="place of the tables, as llmeval export --to takes it (default: history "
        "in the folder of --dir)",
    )
    monitor.add_argument(
        "--tracking",
        metavar="URI",
        help="MLflow with the traces (default: MLFLOW_TRACKING_URI, or mlflow.db)",
    )
    monitor.add_argument(
        "--spark",
        metavar="ADDRESS",
        help="the Spark to use, as in pytest --llmeval-spark (default: the first that "
        "is there)",
    )
    add_directory(monitor, "folder of runs and states (default: .llmeval)")


def _add_traffic(monitor: argparse.ArgumentParser) -> None:
    monitor.add_argument(
        "--traffic",
        metavar="SOURCE",
        help="a log file or 'logs/*.jsonl', traces:EXPERIMENT of MLflow, or a table or "
        "query of Spark (default: none)",
    )
    monitor.add_argument(
        "--columns",
        nargs="+",
        type=_column,
        metavar="FIELD=COLUMN",
        help="names of columns, as in time=ts output=reply",
    )
    monitor.add_argument(
        "--sample",
        type=_count,
        default=500,
        metavar="N",
        help="calls of each day, by a hash of their ids and the day (default: 500)",
    )
    monitor.add_argument(
        "--days",
        type=_count,
        default=3,
        metavar="N",
        help="UTC days before today to look at, again where they are there already "
        "(default: 3)",
    )
    monitor.add_argument(
        "--slices",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="columns of the traffic to watch each value of",
    )
    monitor.add_argument(
        "--labels",
        metavar="SOURCE",
        help="file or table with the columns id and reference: right answers, as far "
        "as they are known by now",
    )
    monitor.add_argument(
        "--metrics",
        nargs="+",
        default=["exact_match", "token_f1"],
        metavar="NAME",
        help="metrics of answers that have a label (default: exact_match token_f1)",
    )


def _add_alarms(monitor: argparse.ArgumentParser) -> None:
    monitor.add_argument(
        "--every",
        type=_duration,
        default=datetime.timedelta(days=1),
        metavar="TIME",
        help="how often an evaluation is due: 30min, 12h, 1d; after one and a half of "
        "it there is no data (default: 1d)",
    )
    monitor.add_argument(
        "--baseline",
        type=_count,
        default=7,
        metavar="N",
        help="evaluations that later ones are compared with (default: 7)",
    )
    monitor.add_argument(
        "--since",
        type=_moment,
        metavar="DATE",
        help="take the baseline from then on, after a change that is meant (default: "
        "from the first evaluation)",
    )
    monitor.add_argument(
        "--run-length",
        type=_length,
        default=365.0,
        metavar="N",
        help="evaluations up to a false alarm, on average, at least (default: 365)",
    )
    monitor.add_argument(
        "--alarm",
        nargs="+",
        metavar="VARIABLE",
        help="environment variables that hold URLs of webhooks which take messages as "
        "Slack's do (default: LLMEVAL_ALARM_URL where it is set)",
    )
    monitor.add_argument(
        "--remind",
        type=_duration,
        metavar="TIME",
        help="tell an alarm again after that time (default: once)",
    )


def _run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.config import Settings
    from pytest_llmeval.history.places import open_place
    from pytest_llmeval.hooks import headless_manager
    from pytest_llmeval.monitor.watch import watch

    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    order = _order(options, rest, now)
    settings = Settings(
        directory=str(options.dir),
        tracking=options.tracking or "auto",
        spark=options.spark,
    )
    hook = headless_manager().hook
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, and Spark's
        place = options.history or str(options.dir / "history")
        opened = open_place(place, hook, settings)
        outcome = watch(order, opened, hook, settings, now, say)
    _show(outcome)
    return _status(outcome)


def _order(
    options: argparse.Namespace, rest: Sequence[str], now: datetime.datetime
) -> Order:
    from pytest_llmeval.monitor.judge import Plan
    from pytest_llmeval.monitor.points import measures
    from pytest_llmeval.monitor.watch import Order
    from pytest_llmeval.monitor.webhook import find_channels

    if not (options.paths or options.traffic or options.check):
        raise ConfigurationError(
            "there is nothing to evaluate; give suites, --traffic, or --check for a "
            "look at the history alone"
        )
    measures(options.metrics)  # before anything is asked
    return Order(
        model=options.model or _model_of(options.target),
        paths=options.paths,
        arguments=rest,
        traffic=_traffic(options, now),
        labels=options.labels,
        metrics=options.metrics,
        slices=tuple(options.slices),
        plan=Plan(
            every=options.every,
            baseline=options.baseline,
            run_length=options.run_length,
            warning_length=min(30.0, options.run_length),
        ),
        since=options.since,
        channels=find_channels(options.alarm),
        remind=options.remind,
        evaluates=not options.check,
    )


def _traffic(options: argparse.Namespace, now: datetime.datetime) -> TrafficRef | None:
    from pytest_llmeval.records.traffic import FIELDS
    from pytest_llmeval.records.traffic import TrafficRef

    if options.traffic is None:
        return None
    columns = dict(options.columns or ())
    unknown = sorted(set(columns) - set(FIELDS))
    if unknown:
        raise ConfigurationError(
            f"--columns has no field {unknown[0]!r}; the fields are: "
            f"{', '.join(FIELDS)}"
        )
    days = range(options.days, 0, -1)
    return TrafficRef(
        source=options.traffic,
        days=[now.date() - datetime.timedelta(days=back) for back in days],
        sample=options.sample,
        columns=columns,
    )


def _model_of(target: str) -> str:
    kind, _, name = target.partition(":")
    if kind not in MODELS or not name or (kind == "registry" and "@" not in name):
        raise ConfigurationError(
            f"{one_line(target)!r} is neither registry:NAME@ALIAS nor "
            "serving:ENDPOINT; any other model is given with --model"
        )
    return MODELS[kind] + name


def _show(outcome: Outcome) -> None:
    for finding in outcome.findings:
        if finding.state != "ok":
            word = finding.state.replace("_", " ")
            say(f"{word}: {one_line(finding.series)}: {one_line(finding.message, 400)}")
    for failure in outcome.told.failures:
        say(f"llmeval: {failure}; it is kept, and sent next time", sys.stderr)
    fine = sum(finding.state == "ok" for finding in outcome.findings)
    changed = counted(len(outcome.told.changes), "change")
    say(f"{fine} of {len(outcome.findings)} in order, {changed}")


def _status(outcome: Outcome) -> int:
    states = {finding.state for finding in outcome.findings}
    if "alarm" in states:
        return ALARM_STATUS
    if "no_data" in states:
        return NO_DATA_STATUS
    return NOT_SENT_STATUS if outcome.told.failures else 0


def _column(text: str) -> tuple[str, str]:
    field, separator, column = text.partition("=")
    if not (field and separator and column):
        raise argparse.ArgumentTypeError(f"{text!r} is not FIELD=COLUMN: time=ts")
    return field, column


def _count(text: str) -> int:
    if not (text.isdecimal() and (number := int(text[:6])) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def _length(text: str) -> float:
    number = _count(text)
    if number < 2:  # the rule's own limit
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 1")
    return float(number)


def _duration(text: str) -> datetime.timedelta:
    found = re.fullmatch(rf"(\d{{1,4}})({'|'.join(UNITS)})", text)
    if found is None or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time such as 30min, 12h, 1d or 1w"
        )
    return datetime.timedelta(**{UNITS[found[2]]: int(found[1])})


def _moment(text: str) -> datetime.datetime:
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date: 2026-11-30") from None
    return at if at.tzinfo else at.replace(tzinfo=datetime.UTC)
