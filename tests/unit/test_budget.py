import json
import shutil
import subprocess
import sys
import time

import pytest

from pytest_llmeval.budget import Budget
from pytest_llmeval.budget import cost_of
from pytest_llmeval.budget import find_price
from pytest_llmeval.budget import open_budget
from pytest_llmeval.config import Settings
from pytest_llmeval.config import read_prices
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.records import Reply


def budget_of(path=None, began=None, **limits):
    began = time.monotonic() if began is None else began
    return Budget(Settings(**limits), path, began)


def test_without_a_limit_there_is_no_budget():
    assert open_budget(Settings(), None, 0.0) is None
    assert open_budget(Settings(max_requests=0), None, 0.0) is not None


def test_requests_are_counted_before_they_are_sent():
    budget = budget_of(max_requests=2)

    assert [budget.take() for _ in range(4)] == [
        None,
        None,
        *["--llmeval-max-requests 2 is reached"] * 2,
    ]


def test_tokens_of_prompt_and_output_count():
    budget = budget_of(max_tokens=10)
    budget.spend(Reply(text="x", prompt_tokens=4, output_tokens=3))
    budget.spend(Reply(text="x", prompt_tokens=2))
    assert budget.take() is None, "9 of 10"
    budget.spend(Reply(text="x"))
    assert budget.take() is None, "unknown is none"
    budget.spend(Reply(text="x", output_tokens=2))

    assert budget.take() == "--llmeval-max-tokens 10 is reached: 11 used"


def test_dollars_count():
    budget = budget_of(max_cost_usd=0.5)
    budget.spend(Reply(text="x", cost_usd=0.25))
    assert budget.take() is None
    budget.spend(Reply(text="x", cost_usd=0.375))

    assert budget.take() == "--llmeval-max-cost-usd 0.5 is reached: 0.6250 spent"


def test_seconds_count_from_the_start_of_the_run():
    now = time.monotonic()

    assert budget_of(began=now, max_seconds=60).take() is None
    late = budget_of(began=now - 2.5, max_seconds=2.5)
    assert late.take() == "--llmeval-max-seconds 2.5 is reached"


def test_a_reply_of_unknown_cost_ends_a_run_that_limits_it():
    budget = budget_of(max_cost_usd=1.0)

    with pytest.raises(ModelError) as caught:
        budget.spend(Reply(text="x", prompt_tokens=4))

    assert str(caught.value).startswith(
        "--llmeval-max-cost-usd is set, and the model neither reports what a reply "
        "costs nor has a price: add a line MODEL = PROMPT OUTPUT"
    )
    assert str(caught.value).endswith("to the ini value llmeval_prices")


SPENDER = """\
import json
import sys
import time
from pathlib import Path

from pytest_llmeval.budget import Budget
from pytest_llmeval.config import Settings
from pytest_llmeval.config import read_prices
from pytest_llmeval.records import Reply

budget = Budget(Settings(max_requests=1_000), Path(sys.argv[1]), time.monotonic())
print("ready", flush=True)
sys.stdin.readline()
taken = 0
while (refusal := budget.take()) is None:
    budget.spend(Reply(text="", prompt_tokens=1, output_tokens=2, cost_usd=0.25))
    taken += 1
print(json.dumps([taken, refusal]))
"""


def test_four_processes_take_exactly_what_there_is(tmp_path):
    path = tmp_path / "budget.db"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    spenders = [
        subprocess.Popen([sys.executable, "-c", SPENDER, path], **pipes)
        for _ in range(4)
    ]
    assert [spender.stdout.readline() for spender in spenders] == ["ready\n"] * 4

    for spender in spenders:  # all are at it at once
        spender.stdin.write("\n")
        spender.stdin.flush()
    said = [json.loads(spender.communicate(timeout=60)[0]) for spender in spenders]

    assert sum(taken for taken, _ in said) == 1_000
    assert {refusal for _, refusal in said} == {
        "--llmeval-max-requests 1000 is reached"
    }
    spent = budget_of(path, max_tokens=3_000).take()
    assert spent == "--llmeval-max-tokens 3000 is reached: 3000 used"
    assert budget_of(path, max_cost_usd=250.0).take().endswith("250.0000 spent")


def test_an_account_that_cannot_be_written_is_named(tmp_path):
    path = tmp_path / "budget.db"
    path.mkdir()

    with pytest.raises(ConfigurationError) as caught:
        budget_of(path, max_requests=1)

    assert str(caught.value) == (
        f"cannot write the budget's account {path}: unable to open database file; "
        "choose another folder with --llmeval-dir"
    )


@pytest.mark.parametrize(
    "use", [Budget.take, lambda b: b.spend(Reply(text="x", output_tokens=1))]
)
def test_an_account_that_goes_away_is_named(tmp_path, use):
    path = tmp_path / "run" / "budget.db"
    path.parent.mkdir()
    budget = budget_of(path, max_requests=1)
    shutil.rmtree(path.parent)

    with pytest.raises(ConfigurationError) as caught:
        use(budget)

    assert str(caught.value).startswith(f"cannot write the budget's account {path}: ")


def test_prices_are_read_line_by_line():
    prices = read_prices("\n a = 0.40 1.60\n\nhttp://host/v1?x=y#b\t=\t0 2e3\n")

    assert prices == {"a": (0.4, 1.6), "http://host/v1?x=y#b": (0.0, 2000.0)}


WRONG = """\
a
a = 1
a = 1 2 3
a = 1 x
a = -1 2
a = 1 -2
= 1 2
a: 1 2
a = nan 1
a = 1 nan
a = inf 1
a = 1 inf"""


@pytest.mark.parametrize("line", WRONG.splitlines())
def test_a_line_that_is_no_price_is_named(line):
    with pytest.raises(ConfigurationError) as caught:
        read_prices(f"ok = 1 2\n{line}\n")

    assert str(caught.value) == (
        f"llmeval_prices has the line {line!r}; write MODEL = PROMPT OUTPUT, in US "
        "dollars for a million tokens: gpt-4.1-mini = 0.40 1.60"
    )


def test_the_first_name_that_has_a_price_counts():
    prices = {"a": (1.0, 1.0), "b": (2.0, 2.0)}

    assert find_price(prices, None, "x", "b", "a") == (2.0, 2.0)
    assert find_price(prices, None, "x") is None


@pytest.mark.parametrize(
    ("price", "reply", "cost_usd"),
    [
        ((0.4, 1.6), Reply(text="", prompt_tokens=1_000, output_tokens=500), 0.0012),
        ((0.4, 1.6), Reply(text="", prompt_tokens=0, output_tokens=0), 0.0),
        ((0.4, 1.6), Reply(text="", prompt_tokens=1_000), None),
        ((0.4, 1.6), Reply(text="", prompt_tokens=9, output_tokens=9, cost_usd=7), 7),
        (None, Reply(text="", cost_usd=7), 7),
        (None, Reply(text="", prompt_tokens=9, output_tokens=9), None),
    ],
)
def test_a_cost_is_what_the_model_reports_or_by_the_price(price, reply, cost_usd):
    found = cost_of(price)(reply)

    assert found == (None if cost_usd is None else pytest.approx(cost_usd, rel=1e-12))
