"""What every engine has to agree on with the local one; each leg runs these tests.

A leg defines the fixture `there`, an engine, and imports all of this.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from dataclasses import replace

import pytest

from pytest_llmeval import decide_each_slice
from pytest_llmeval.backends.spark.output import OUTPUT

from . import suites
from .engines import EVALUATIONS
from .gates import GATES
from .gates import SURE
from .gates import regression


NUMBERS = ("value", "lower", "upper", "share", "row_mean")
LISTS = ("status", "reason", "method", "n", "errors", "rows", "rows_needed")
OPINIONS = ("at_worst", "point_only", "repeats", "worst", "dataset_digest")


def near(value):
    """Return what equals these numbers but for rounding; None equals itself."""
    if isinstance(value, dict):
        return {name: near(item) for name, item in value.items()}
    if isinstance(value, list):
        return [near(item) for item in value]
    if not isinstance(value, float):
        return value
    return pytest.approx(value, rel=0, abs=1e-9, nan_ok=True)


def rows_of(results):
    """Return the rows by id and repeat, scores apart."""
    frame = results.to_pandas().astype(object)
    frame = frame.where(frame.notna(), None)
    names = list(results.values)
    rows, scores = {}, {}
    for row in frame.to_dict("records"):
        key = row["id"], row.get("repeat", 0)
        for name in names:
            scores[*key, name] = row.pop(name)
        rows[key] = row
    assert len(rows) == len(frame)
    return rows, scores


@pytest.mark.parametrize("name", EVALUATIONS)
def test_rows_are_the_same(local, there, name):
    rows, scores = rows_of(local[name])
    rows_there, scores_there = rows_of(there[name])
    assert rows_there == rows
    assert scores_there == near(scores)
    assert len(rows) == len(there[name].dataset.ids) * there[name].request.repeats


@pytest.mark.parametrize("name", EVALUATIONS)
def test_digests_and_counts_are_the_same(local, there, name):
    here, found = local[name], there[name]
    for part in ("digest", "columns", "filled", "with_references"):
        assert getattr(found.dataset, part) == getattr(here.dataset, part)
    assert found.request.digest == here.request.digest
    for part in ("predictions_digest", "rows", "failed", "kinds", "cached"):
        assert getattr(found.tally, part) == getattr(here.tally, part)
    for part in ("requests", "rows", "prompt_tokens", "output_tokens", "cost_usd"):
        assert getattr(found.usage, part) == getattr(here.usage, part)


@pytest.mark.parametrize("name", EVALUATIONS)
def test_metric_values_are_the_same(local, there, name):
    here, found = local[name], there[name]
    assert list(found.values) == list(here.values)
    for metric, value in here.values.items():
        wanted, given = asdict(value), asdict(found[metric])
        for name in ("variance_between", "variance_within"):  # of rows at hand only
            del wanted[name], given[name]
        assert given == near(wanted)


def test_the_data_holds_what_it_is_to_hold(local):
    assert {"exception", "scorer"} <= local["hostile"].tally.kinds.keys()
    copies = {one.partition("#")[2] for one in local["hostile"].dataset.ids}
    assert copies == {"", "2", "3"}
    assert local["repeats"].tally.failed
    changes = regression(local, 1.0, "unit").compared
    assert changes.worse
    assert changes.better


# Gates.


def compared(decision):
    """Return of a decision what all engines have to say alike."""
    entry = {name: getattr(decision, name) for name in (*LISTS, *OPINIONS)}
    numbers = {name: getattr(decision, name) for name in NUMBERS}
    worst = [(one.id, one.input, one.expected, one.got) for one in decision.worst]
    scores = [one.score for one in decision.worst]
    flips = changes = None
    if decision.compared is not None:
        found = asdict(decision.compared)
        flips = found.pop("flips")
        numbers |= {name: found.pop(name) for name in ("value", "value_now")}
        scores += [flip.pop("change") for flip in flips]
        changes = found
    return {**entry, "worst": worst, "flips": flips, "changes": changes}, (
        numbers,
        scores,
    )


@pytest.mark.parametrize("name", GATES)
def test_a_gate_comes_out_the_same(local, there, name):
    entry, numbers = compared(GATES[name](local))
    entry_there, numbers_there = compared(GATES[name](there))
    assert entry_there == entry
    assert numbers_there[0] == near(numbers[0])
    assert numbers_there[1] == near(numbers[1])


@pytest.mark.parametrize("by", ["topic", "nosuch"])
def test_slices_come_out_the_same(local, there, by):
    def decisions(engine):
        found = decide_each_slice(engine["before"], "unit", ">=", 0.5, by=by, **SURE)
        return {str(one.gate): compared(one) for one in found}

    here, found = decisions(local), decisions(there)
    assert found.keys() == here.keys()
    for name, (entry, numbers) in here.items():
        assert found[name][0] == entry
        assert found[name][1][0] == near(numbers[0])


# Selections and sources.


@pytest.mark.parametrize("form", ["list", "frame", "csv", "jsonl", "parquet"])
def test_each_form_of_the_data_has_the_same_digest(local, there, data, form):
    here, found = local.dataset(data["list"]), there.dataset(data[form])
    assert found.digest == here.digest == local.dataset(data[form]).digest
    assert list(found.ids) == sorted(here.ids)
    assert found.filled == here.filled


SELECTIONS = {
    "rows": {"sample": 50},
    "rows of another seed": {"sample": 50, "seed": 7},
    "a share": {"sample": 0.3},
    "a share of another seed": {"sample": 0.3, "seed": 7},
    "a slice": {"where": {"topic": "billing"}},
    "a part of a slice": {"where": {"topic": "a\nb"}, "sample": 5},
    "all rows": {"sample": 1.0},
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_selection_is_the_same(local, there, data, name):
    selection = SELECTIONS[name]
    here = local.dataset(data["parquet"], **selection)
    found = there.dataset(data["parquet"], **selection)
    assert list(found.ids) == sorted(here.ids)
    assert found.digest == here.digest


def test_a_sample_of_rows_without_ids_is_the_same(local, there):
    here, found = (
        engine.dataset(suites.HOSTILE, sample=20, where={"flag": True})
        for engine in (local, there)
    )
    assert found.digest == here.digest
    assert len(found.ids) == len(here.ids)


# Output.


def test_the_rows_for_people_have_the_columns_that_are_documented(there):
    names = [part.split()[0] for part in OUTPUT.split(", ")]
    assert there["hostile"].to_spark().columns == names


def written(frame):
    """Return the rows that were written, by id and repeat, but for times."""
    rows = [row.asDict() for row in frame.collect()]
    assert all(row["asked_at"] is not None for row in rows)
    for row in rows:
        del row["asked_at"], row["latency_ms"]
    return {(row["id"], row["repeat"]): row for row in rows}


def check_written(results, frame):
    """Compare rows that were written with the results that they are of."""
    rows, found = rows_of(results)[0], written(frame)
    assert found.keys() == rows.keys()
    for key, row in rows.items():
        one = found[key]
        assert one["references"] == [as_valid(text) for text in row["references"]]
        assert one["input"] == as_valid(row["input"])
        assert one["prediction"] == as_valid(row["prediction"])
        assert (one["error_kind"] is None) == (row["error"] is None)
        assert one["dataset_digest"] == results.dataset.digest
        assert one["request_digest"] == results.request.digest


def as_valid(text):
    """Return a text with what UTF-8 cannot hold as its escape."""
    return text and text.encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize("name", ["hostile", "repeats"])
def test_rows_that_were_written_are_read_back(there, tmp_path, name):
    target = str(tmp_path / "rows")
    there[name].write(target)
    check_written(there[name], there.session.read.parquet(target))


def test_rows_are_written_redacted_and_given_as_they_are(there, tmp_path):
    rules = {"redact": (r"\S+@\S+",), "redact_columns": ("answer",)}
    data = [
        {"id": f"r{n}", "input": f"ask me@b.cd {n}", "answer": "x", "to": "to@b.cd"}
        for n in range(20)
    ]
    settings = replace(there.settings, **rules)
    found = there.evaluate(suites.echo, data, ["exact_match"], settings=settings)
    found.write(str(tmp_path / "rows"))
    rows = written(there.session.read.parquet(str(tmp_path / "rows")))
    one = rows["r7", 0]
    assert (one["input"], one["prediction"]) == ("ask [redacted] 7",) * 2
    assert one["references"] == ["[redacted]"]
    assert json.loads(one["metadata"]) == {
        "id": "r7",
        "input": "ask [redacted] 7",
        "answer": "[redacted]",
        "to": "[redacted]",
    }
    as_they_are = written(found.to_spark())
    assert as_they_are["r7", 0]["input"] == "ask me@b.cd 7"


SUITE = """
import os
import pytest
from pytest_llmeval import CallableModel, assert_each_slice, assert_metric

def answer(prompt):
    if "7" in prompt:
        raise ValueError("seven")
    return prompt[-1]

def even(prediction: str, example) -> bool:
    return prediction in "02468"

@pytest.fixture
def llmeval_model():
    return CallableModel(answer, version="1")

@pytest.fixture
def results(evaluate):
    data = [{"id": f"r{n:02}", "input": f"{n}", "kind": n % 3} for n in range(60)]
    return evaluate(data=data, metrics=[even], engine=os.environ["SUITE_ENGINE"])

def test_even(results):
    assert_metric(results, "even", ">=", 0.3, on_error="worst", confidence=0.9)

def test_kinds(results):
    assert_each_slice(results, "even", ">=", 0.9, by="kind")
"""


def verdict_of(folder, engine, *options):
    """Return the verdict of a run of pytest, but for times and names of its own."""
    (folder / "test_suite.py").write_text(SUITE)
    (folder / "pytest.ini").write_text(INI)
    done = subprocess.run(
        (sys.executable, "-m", "pytest", *options, "-p", "no:cacheprovider"),
        cwd=folder,
        env=os.environ | {"SUITE_ENGINE": engine},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    print(done.stdout, done.stderr, sep="\n")  # shown when the test fails
    (path,) = folder.glob(".llmeval/runs/*/verdict.json")
    verdict = json.loads(path.read_text())
    return {name: verdict[name] for name in VERDICT}


INI = "[pytest]\nllmeval_tracking = off\nllmeval_confidence = 0.95\n"
VERDICT = ("status", "reason", "detail", "exit_status", "model", "gates", "tries")


def test_a_run_of_pytest_comes_to_the_same_verdict(there, tmp_path):
    folders = [tmp_path / "here", tmp_path / "there"]
    for folder in folders:
        folder.mkdir()
    here = verdict_of(folders[0], "local")
    found = verdict_of(folders[1], "spark", "--llmeval-spark", there.address)
    assert found == here
    assert here["status"] == "fail"
