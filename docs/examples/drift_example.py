"""Watch the daily evaluations of a model: ten days as the baseline, then a drop."""

from datetime import UTC
from datetime import datetime
from datetime import timedelta

from pytest_llmeval import drift


right = [180, 183, 178, 181, 179, 182, 180, 177, 184, 180, 181, 179, 182, 165, 163, 160]
days = [
    drift.Point(
        datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=day), count / 200, 200
    )
    for day, count in enumerate(right)
]
rule = drift.Rule(better="higher", run_length=365, every=timedelta(days=1))
reference = drift.estimated(days[:10], rule)
found = drift.detect(days[10:], reference, rule, now=days[-1].time)

print(found.state, found.message)  # noqa: T201
