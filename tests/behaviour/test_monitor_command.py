"""``llmeval monitor`` as users meet it: real suites, logs, history and webhooks."""

from __future__ import annotations

import datetime
import json
import random
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet
import pytest

from tests.monitor.texts import question
from tests.monitor.webhooks import Webhook

from .conftest import ModelServer
from .conftest import Suite
from .registry import Registered


pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own
REFUSAL = "I'm sorry, I can't help with that."


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    server = Webhook()
    monkeypatch.setenv("LLMEVAL_ALARM_URL", server.url)
    yield server
    server.close()


def write_traffic(suite: Suite, days: int, refused: int = 0, gap: int = 0) -> None:
    """Write a log of days up to yesterday, of which the last ones have refusals."""
    today = datetime.datetime.now(datetime.UTC).date()
    rows: list[dict[str, Any]] = []
    for back in range(days, gap, -1):
        day = today - datetime.timedelta(days=back)
        for number in range(100):
            is_refused = back <= refused and number % 2 == 0
            rows.append(
                {
                    "id": f"{day}-{number}",
                    "time": f"{day}T12:00:00Z",
                    "input": "How long does a refund take?",
                    "output": REFUSAL if is_refused else "It takes thirty days.",
                    "lang": "en" if number % 4 else "de",
                }
            )
    suite.write_rows("traffic.jsonl", rows)


def watch(suite: Suite, *arguments: str) -> pytest.RunResult:
    traffic = ("--traffic", "traffic.jsonl", "--days", "14")
    return suite.llmeval("monitor", "--model", "m", *traffic, *arguments)


def test_traffic_that_is_as_before_is_in_order(suite: Suite, webhook: Webhook) -> None:
    write_traffic(suite, 12)
    done = watch(suite)
    assert done.ret == 0
    assert done.outlines[0] == "traffic: 1,200 calls of 12 days, 12 new, 0 changed"
    assert done.outlines[-1].endswith("in order, 0 changes")
    assert webhook.got == []
    assert watch(suite).outlines[0].endswith("0 new, 0 changed")


def test_refusals_raise_an_alarm_once_and_end_with_its_status(
    suite: Suite, webhook: Webhook
) -> None:
    write_traffic(suite, 12, refused=3)
    first, second = watch(suite), watch(suite)
    assert (first.ret, second.ret) == (20, 20)
    first.stdout.fnmatch_lines(["alarm: traffic traffic.jsonl refusals: the mean is*"])
    (text,) = webhook.texts
    assert "ALARM: traffic traffic.jsonl refusals: the mean is above" in text
    for done in (first, second):
        assert webhook.url not in str(done.stdout) + str(done.stderr)


def test_a_slice_that_is_worse_is_named(suite: Suite, webhook: Webhook) -> None:
    write_traffic(suite, 12, refused=3)
    done = watch(suite, "--slices", "lang")
    # Of each four, the first one is German and refused, and of the others a third.
    done.stdout.fnmatch_lines(["alarm: *refusals [[]lang=de]: *"])


def test_traffic_that_has_stopped_is_no_data(suite: Suite, webhook: Webhook) -> None:
    write_traffic(suite, 12, gap=3)
    done = watch(suite)
    assert done.ret == 21
    assert "NO DATA: traffic traffic.jsonl failures: no evaluation" in webhook.texts[0]


def write_questions(suite: Suite, days: int, other: int = 0) -> None:
    """Write a log of days up to yesterday, the last ones with other questions."""
    today, rng = datetime.datetime.now(datetime.UTC).date(), random.Random(days)
    rows = []
    for back in range(days, 0, -1):
        day = today - datetime.timedelta(days=back)
        topic = "invoices" if back <= other else "refunds"
        for number in range(60):
            text = question(rng, topic)
            row = {"id": f"{day}-{number}", "input": text, "output": "It takes days."}
            rows.append({"time": f"{day}T12:00:00Z", **row})
    suite.write_rows("traffic.jsonl", rows)


INPUTS = "traffic traffic.jsonl inputs"


def test_other_questions_raise_an_alarm_once_and_a_new_baseline_ends_it(
    suite: Suite, webhook: Webhook
) -> None:
    write_questions(suite, 12, other=5)
    assert [watch(suite).ret, watch(suite, "--check").ret] == [20, 20]
    (text,) = webhook.texts
    (line,) = (one for one in text.splitlines() if f" {INPUTS}: " in one)
    today = datetime.datetime.now(datetime.UTC).date()
    first, last, shown = (today - datetime.timedelta(days=n) for n in (12, 6, 1))
    assert line.startswith(
        f"ALARM: {INPUTS}: inputs of {shown} differ from those of {first} to {last}: "
        "trigrams distance 0."
    )
    since = str(today - datetime.timedelta(days=5))
    assert watch(suite, "--since", since, "--baseline", "3").ret == 0
    assert f"OK again after ALARM: {INPUTS}: inputs are like" in webhook.texts[1]


def test_comparisons_of_inputs_stand_in_the_history_and_no_text_in_any_file(
    suite: Suite, webhook: Webhook
) -> None:
    write_questions(suite, 12, other=1)
    watch(suite)
    table = pyarrow.parquet.read_table(suite.path / ".llmeval/history/metrics")
    found = [row for row in table.to_pylist() if row["metric"] == "input_drift_p"]
    today = datetime.datetime.now(datetime.UTC).date()
    small = {row["day"]: row["value"] <= 1 / (8 * 365) for row in found}
    compared = [str(today - datetime.timedelta(days=back)) for back in (5, 4, 3, 2, 1)]
    assert small == {day: day == compared[-1] for day in compared}
    files = [path for path in (suite.path / ".llmeval").rglob("*") if path.is_file()]
    assert len([path for path in files if path.suffix == ".npz"]) == 12
    assert not any(b"Where can I find" in path.read_bytes() for path in files)


def test_questions_of_one_kind_are_in_order(suite: Suite, webhook: Webhook) -> None:
    write_questions(suite, 12)
    assert watch(suite).ret == 0
    found = states(suite, "m")
    assert found[INPUTS]["state"] == "ok"
    # No detector takes p-values for a metric that is to stay as it is.
    assert not [name for name in found if "input_" in name and "_length" not in name]
    assert watch(suite).outlines[0].endswith("0 new, 0 changed")


def test_a_log_that_is_gone_is_no_data_and_its_return_is_told(
    suite: Suite, webhook: Webhook
) -> None:
    write_traffic(suite, 12)
    watch(suite)
    (suite.path / "traffic.jsonl").unlink()
    assert watch(suite).ret == 21
    write_traffic(suite, 12)
    assert watch(suite).ret == 0
    lost, back = webhook.texts
    assert (
        "NO DATA: traffic traffic.jsonl: it cannot be read: traffic.jsonl: no" in lost
    )
    assert "OK again after NO DATA: traffic traffic.jsonl: it can be read" in back


def test_a_check_evaluates_nothing_and_sees_what_is_missing(
    suite: Suite, webhook: Webhook
) -> None:
    write_traffic(suite, 12)
    done = watch(suite, "--check")
    assert done.ret == 21
    done.stdout.fnmatch_lines(["no data: traffic points: the history has no point *"])
    assert watch(suite).ret == 0
    assert watch(suite, "--check").ret == 0


def test_a_message_that_nobody_takes_is_said_and_kept(
    suite: Suite, webhook: Webhook
) -> None:
    write_traffic(suite, 12, refused=3)
    webhook.script = [403]
    done = watch(suite)
    assert done.ret == 20
    done.stderr.fnmatch_lines(
        ["llmeval: LLMEVAL_ALARM_URL: the webhook does not take the message: HTTP 403*"]
    )
    write_traffic(suite, 12)
    webhook.script = [403]
    assert watch(suite, "--check").ret == 20
    webhook.script, webhook.got = [200], []
    assert watch(suite).ret == 0
    assert len(webhook.texts) == 2


def test_the_status_tells_of_a_message_that_was_not_sent(
    suite: Suite, webhook: Webhook
) -> None:
    write_traffic(suite, 12)
    watch(suite)
    (suite.path / "traffic.jsonl").unlink()
    webhook.script = [403]
    assert watch(suite).ret == 21
    write_traffic(suite, 12)
    assert watch(suite).ret == 22


def test_labels_that_come_later_become_metrics(suite: Suite, webhook: Webhook) -> None:
    write_traffic(suite, 3)
    watch(suite)
    lines = (suite.path / "traffic.jsonl").read_text().splitlines()
    labels = [
        {"id": json.loads(line)["id"], "reference": "It takes thirty days."}
        for line in lines
    ]
    suite.write_rows("labels.jsonl", labels)
    done = watch(suite, "--labels", "labels.jsonl")
    assert done.outlines[0].endswith("0 new, 3 changed")
    assert "traffic traffic.jsonl exact_match" in states(suite, "m")


def states(suite: Suite, model: str) -> dict[str, Any]:
    document = json.loads((suite.path / ".llmeval/monitor/states.json").read_text())
    found: dict[str, Any] = document["states"][model]
    return found


def test_a_secret_in_a_models_name_is_kept_nowhere(
    suite: Suite, webhook: Webhook
) -> None:
    write_traffic(suite, 12, refused=3)
    model = "http://me:pa55word@models.example.org/v1"
    traffic = ("--traffic", "traffic.jsonl", "--days", "14")
    done = suite.llmeval("monitor", "--model", model, *traffic)
    assert done.ret == 20
    assert "pa55word" not in f"{done.stdout}{done.stderr}{webhook.texts}"
    files = [path for path in (suite.path / ".llmeval").rglob("*") if path.is_file()]
    assert not any(b"pa55word" in path.read_bytes() for path in files)


def test_a_suite_that_fails_is_an_alarm_and_a_drop_is_found(
    suite: Suite, model_server: ModelServer, webhook: Webhook
) -> None:
    suite.ask(model_server)
    model = ("monitor", "evals", "--model", model_server.url, "--baseline", "1")
    for _ in range(2):
        assert suite.llmeval(*model).ret == 0
    model_server.answer = lambda message: "wrong"
    assert suite.llmeval(*model).ret == 20
    found = {
        name: one["state"] for name, one in states(suite, model_server.url).items()
    }
    assert found["suite evals"] == "alarm"
    metric = "suite evals/test_qa.py::test_quality data.jsonl exact_match"
    assert found[metric] == "alarm"
    # Each time the model was asked, and no stored answers were taken.
    assert len(model_server.requests) == 3 * 40
    model_server.answer = str.upper
    for _ in range(3):
        suite.llmeval(*model)
    assert states(suite, model_server.url)[metric]["state"] == "ok"
    assert len(webhook.texts) == 3


def test_a_suite_that_cannot_run_is_no_data(suite: Suite, webhook: Webhook) -> None:
    suite.write("evals/test_qa.py", "import nothing_like_this\n")
    done = suite.llmeval("monitor", "evals", "--model", "http://127.0.0.1:9/v1")
    assert done.ret == 21
    done.stdout.fnmatch_lines(["no data: suite evals: *pytest ended with 2"])


def test_a_suite_does_not_see_the_webhook_and_takes_arguments(
    suite: Suite, model_server: ModelServer, webhook: Webhook
) -> None:
    suite.ask(model_server)
    suite.write(
        "evals/test_qa.py",
        "import os\n\n\n"
        "def test_env():\n"
        "    assert 'LLMEVAL_ALARM_URL' not in os.environ\n",
    )
    arguments = ("evals", "--model", model_server.url, "--", "-k", "env", "-v")
    done = suite.llmeval("monitor", *arguments)
    done.stdout.fnmatch_lines(["*::test_env PASSED*"])


def test_a_target_is_the_model_that_its_alias_names(
    project: Registered, webhook: Webhook
) -> None:
    client = mlflow_client(project)
    client.set_registered_model_alias("qa", "champion", "2")
    done = project.llmeval("monitor", "evals", "--target", "registry:qa@champion")
    assert done.ret == 0
    assert project.verdict["model"]["requested"] == "models:/qa@champion"
    assert project.verdict["model"]["version"] == "2"
    assert "suite evals" in states(project, "models:/qa@champion")
    # The version is pinned, so that answers are stored; they are not taken.
    project.llmeval("monitor", "evals", "--target", "registry:qa@champion")
    assert project.verdict["evaluations"][0]["usage"]["rows"] == 40


def mlflow_client(project: Registered) -> Any:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{project.path / 'mlflow.db'}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "m"], "there is nothing to evaluate; give suites, --traffic"),
        (["--target", "qa@champion", "--check"], "is neither registry:NAME@ALIAS nor"),
        (["--target", "registry:qa", "--check"], "is neither registry:NAME@ALIAS nor"),
        (
            ["--model", "m", "--check", "--alarm", "https://x.example/s3cr3t"],
            "--alarm takes names of environment variables",
        ),
        (
            ["--model", "m", "--check", "--alarm", "NOT_SET"],
            "the environment variable 'NOT_SET' is not set",
        ),
        (
            ["--model", "m", "--traffic", "t.jsonl", "--columns", "when=ts"],
            "--columns has no field 'when'; the fields are: id, time, input",
        ),
        (
            ["--model", "m", "--check", "--metrics", "bleu"],
            "'bleu' scores no single answer by a label",
        ),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_happens(
    suite: Suite, arguments: list[str], said: str
) -> None:
    done = suite.llmeval("monitor", *arguments)
    assert done.ret == 1
    assert said in str(done.stderr)
    assert "s3cr3t" not in str(done.stderr)
    assert not (suite.path / ".llmeval").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--model", "m", "--target", "registry:a@b"],
        ["--model", "m", "--every", "1"],
        ["--model", "m", "--every", "0d"],
        ["--model", "m", "--sample", "0"],
        ["--model", "m", "--since", "yesterday"],
        ["--model", "m", "--columns", "time"],
        ["--model", "m", "--run-length", "1"],
    ],
)
def test_wrong_usage_ends_with_2(suite: Suite, arguments: list[str]) -> None:
    assert suite.llmeval("monitor", *arguments).ret == 2
