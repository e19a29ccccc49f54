import datetime
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Gate
from pytest_llmeval.verdict import ENTRY_FIELDS
from pytest_llmeval.verdict import format_manifest
from pytest_llmeval.verdict import keep_live_tables
from pytest_llmeval.verdict import manifest_entry
from pytest_llmeval.verdict import read_manifest


ENTRY = {
    "test": "t.py::a[x]",
    "metric": "rouge1",
    "op": ">=",
    "threshold": 0.4,
    "kind": "change",
    "baseline": "champion",
    "missing": "first",
    "quantile": 0.95,
    "confidence": 0.95,
    "where": {"topic": "billing", "year": 2024, "hard": True},
    "bounds": [0.0, 1.0],
    "cluster": "conversation_id",
    "min_rows": 20,
    "on_error": "exclude",
    "max_error_rate": 0.01,
    "request": "sha256:r",
    "dataset": "sha256:d",
}
HOSTILE = [
    'quote " and \\ back',
    "line\nbreak\r\ttab",
    "[[gate]] # = {}",
    "control \x00\x1b\x7f",
    "äß中 \u2028 \u202e",
    "emoji 😀",
    "\\ud and \\\\udead",
]


@pytest.fixture
def round_trip(tmp_path):
    def round_trip(*gates):
        path = tmp_path / "gates.toml"
        path.write_text(format_manifest(gates), encoding="utf-8", newline="")
        return list(read_manifest(path).gates)

    return round_trip


def test_every_field_comes_back(round_trip):
    assert set(ENTRY) == set(ENTRY_FIELDS)
    assert round_trip(ENTRY) == [ENTRY]


def test_a_lone_surrogate_comes_back_as_its_escape(round_trip):
    (gate,) = round_trip({**ENTRY, "test": "a\ud800"})
    assert gate["test"] == "a\\ud800"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_comes_back(round_trip, text):
    entry = {**ENTRY, "test": text, "where": {text: text}}

    assert round_trip(entry) == [entry]


characters = st.characters(codec="utf-8")


@given(st.text(characters), st.dictionaries(st.text(characters), st.text(characters)))
def test_any_text_comes_back(name, where):
    entry = {"test": name, "metric": "m", "op": ">=", "where": where}

    assert tomllib.loads(format_manifest([entry]))["gate"] == [entry]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_threshold_comes_back_bit_by_bit(threshold):
    entry = {"test": "t", "metric": "m", "op": ">=", "threshold": threshold}

    assert tomllib.loads(format_manifest([entry]))["gate"] == [entry]


@pytest.mark.parametrize("value", [None, datetime.date(2026, 1, 2), "\ud800"])
def test_a_gate_on_an_unusual_value_makes_a_manifest_that_can_be_read(value):
    gate = Gate(metric="m", op=">=", threshold=0.5, where={"x": value})
    decision = Decision(gate=gate, status="pass", reason="OK", test="t")

    text = format_manifest([manifest_entry(decision)])

    assert tomllib.loads(text)["gate"][0]["metric"] == "m"


def test_the_text_does_not_depend_on_the_order_of_gates_or_keys():
    gates = [{**ENTRY, "test": name} for name in "cab"]
    turned = [dict(reversed(gate.items())) for gate in reversed(gates)]

    text = format_manifest(gates)

    assert text == format_manifest(turned)
    assert [gate["test"] for gate in tomllib.loads(text)["gate"]] == ["a", "b", "c"]
    assert text.startswith("# The gates that must pass before a deployment. Written by")


def test_an_entry_leaves_out_what_a_gate_does_not_give():
    gate = Gate(metric="m", op=">=", threshold=0.5)
    decision = Decision(
        gate=gate,
        status="pass",
        reason="OK",
        test="t",
        value=0.7,
        dataset_digest="sha256:d",
        request_digest="sha256:r",
    )

    assert manifest_entry(decision) == {
        "test": "t",
        "metric": "m",
        "op": ">=",
        "threshold": 0.5,
        "request": "sha256:r",
        "dataset": "sha256:d",
    }


def test_no_file_is_no_manifest(tmp_path):
    assert read_manifest(tmp_path / "gates.toml") is None


def test_the_digest_is_of_the_bytes(tmp_path):
    path = tmp_path / "gates.toml"
    path.write_text(format_manifest([ENTRY]))
    before = read_manifest(path).digest
    path.write_text(format_manifest([ENTRY]) + "#")

    assert read_manifest(path).digest != before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"schema = ", "gates.toml is not valid TOML: Invalid value"),
        (b"schema = 1 # \xff", "gates.toml is not valid TOML: 'utf-8' codec"),
        (
            b"",
            "gates.toml is not a gate manifest of schema 1; write a new one with: "
            "llmeval gates update",
        ),
        (b"schema = 2", "is not a gate manifest of schema 1"),
        (b"schema = 1\ngate = 3", "is not a gate manifest of schema 1"),
        (b"schema = 1\ngate = [3]", "gates.toml"),
        (
            b'schema = 1\n[[gate]]\ntest = "t"\nmetric = "m"\nop = ">="\n[[gate]]\n'
            b'test = "t"\ntreshold = 1\n',
            "gates.toml, gate 2: no field 'treshold' is known; 'metric' is missing; "
            "'op' is missing; the fields are: test, metric, op, threshold, ",
        ),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path, content, message):
    path = tmp_path / "gates.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigurationError) as caught:
        read_manifest(path)

    assert message in str(caught.value)


def test_a_folder_in_place_of_the_manifest_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"cannot read .*: .*directory"):
        read_manifest(tmp_path)


def test_live_tables_stay_live_when_the_manifest_is_rewritten(tmp_path):
    path = tmp_path / "gates.toml"
    live = {**ENTRY, "dataset": "any", "min_rows": 100}
    path.write_text(format_manifest([live, {**ENTRY, "test": "fixed"}]))
    now = [{**ENTRY, "dataset": "sha256:e", "test": t} for t in (ENTRY["test"], "new")]

    kept = keep_live_tables(now, read_manifest(path))

    assert kept == [
        {**ENTRY, "dataset": "any", "min_rows": 100},
        {**ENTRY, "dataset": "sha256:e", "test": "new"},
    ]
    assert keep_live_tables(now, None) == now
