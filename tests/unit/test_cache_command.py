import gzip
import io
import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from pytest_llmeval.cli import main
from pytest_llmeval.predictions import Predictions
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Reply


K1, K2, K3, K4 = (bytes([i]) * 16 for i in (1, 2, 3, 4))
FULL = Prediction(
    reply=Reply(text="é\ud800\n😀", prompt_tokens=3, output_tokens=4, cost_usd=0.1),
    latency_ms=1 / 3,
    queue_ms=2.0,
    attempts=2,
)
SHORT = Prediction(reply=Reply(text="x"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".llmeval" / "predictions.db"


@pytest.fixture
def llmeval(tmp_path, monkeypatch, capsys):
    """Run the command in tmp_path; return status, output lines and error text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())

    def llmeval(*arguments):
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out.splitlines(), err

    return llmeval


def store(path, predictions, days_old=0.0, run_id="run"):
    with Predictions(path, run_id=run_id) as store:
        for key, prediction in predictions.items():
            store.add(key, prediction)
        store.commit()
        store._database.run_many(
            "UPDATE predictions SET stored_at = stored_at - ? WHERE key = ?",
            [(days_old * 86_400, key) for key in predictions],
        )


def found(path, *keys):
    with Predictions(path, run_id="run") as store:
        return store.find(keys)


@pytest.mark.parametrize(
    "arguments", [["info"], ["clear", "--yes"], ["export", "file"]]
)
def test_without_a_store_the_command_says_where_it_looked(llmeval, path, arguments):
    status, out, err = llmeval("cache", *arguments)

    assert (status, out) == (1, [])
    assert err.startswith("llmeval: there is no predictions store .llmeval/predictions")
    assert "--dir names another folder" in err
    assert not path.parent.exists()


def test_info_says_what_is_stored_how_old_and_under_way(llmeval, path):
    store(path, {K1: SHORT}, days_old=12)
    store(path, {K2: SHORT}, days_old=3)
    size_mb = path.stat().st_size / 1e6

    with Predictions(path, run_id="other") as other:
        other.take([K1, K2, K3, K4])
        other.add(K4, SHORT)
        other.commit()
        status, out, _ = llmeval("cache", "info")

    assert status == 0
    assert out == [
        f"store        {path}",
        f"size         {size_mb:.1f} MB (limit: ini llmeval_cache_size, 1024 MB by "
        "default)",
        "holds        3 predictions",
        "stored       12 d ago (oldest) to 0 s ago (newest)",
        "under way    1 request",
    ]


def test_info_of_an_empty_store_in_another_folder(llmeval, tmp_path):
    store(tmp_path / "elsewhere" / "predictions.db", {})

    status, out, _ = llmeval("cache", "info", "--dir", "elsewhere")

    assert status == 0
    assert out[0] == f"store        {tmp_path}/elsewhere/predictions.db"
    assert out[2:] == ["holds        0 predictions", "under way    0 requests"]


def test_clear_deletes_everything_and_gives_the_space_back(llmeval, path):
    store(
        path,
        {
            bytes([i]) * 16: Prediction(reply=Reply(text="x" * 50_000))
            for i in range(100)
        },
    )
    with Predictions(path, run_id="run") as opened:
        generation = opened.generation("e", None, latest=False)
    assert path.stat().st_size > 5_000_000

    status, out, _ = llmeval("cache", "clear", "--yes")

    assert status == 0
    assert out == [
        "deleted 100 of 100 predictions",
        ".llmeval/predictions.db takes 0.0 MB",
    ]
    assert path.stat().st_size < 50_000
    with Predictions(path, run_id="run") as opened:
        assert opened.generation("e", None, latest=True) != generation


def test_clear_spares_what_is_younger(llmeval, path):
    store(path, {K1: SHORT}, days_old=31)
    store(path, {K2: SHORT}, days_old=29)
    with Predictions(path, run_id="run") as opened:
        generation = opened.generation("e", None, latest=False)

    status, out, _ = llmeval("cache", "clear", "--older-than", "30d", "--yes")

    assert status == 0
    assert out[0] == "deleted 1 of 2 predictions"
    assert list(found(path, K1, K2)) == [K2]
    with Predictions(path, run_id="run") as opened:
        assert opened.generation("e", None, latest=False) == generation


@pytest.mark.parametrize(
    ("age", "hours"), [("2d", 48.0), ("36h", 36.0), ("90min", 1.5)]
)
def test_an_age_is_given_in_days_hours_or_minutes(llmeval, path, age, hours):
    store(path, {K1: SHORT}, days_old=(hours + 0.01) / 24)
    store(path, {K2: SHORT}, days_old=(hours - 0.01) / 24)

    llmeval("cache", "clear", f"--older-than={age}", "--yes")

    assert list(found(path, K1, K2)) == [K2]


@pytest.mark.parametrize("age", ["30", "d", "1w", "-1d", "1.5h"])
def test_an_age_that_cannot_be_read_is_refused_with_what_can(llmeval, age, capsys):
    with pytest.raises(SystemExit) as caught:
        llmeval("cache", "clear", f"--older-than={age}")

    assert caught.value.code == 2
    assert f"{age!r} is not an age: 30d, 12h or 90min" in capsys.readouterr().err


def test_clear_refuses_where_nobody_can_agree(llmeval, path):
    store(path, {K1: SHORT})

    status, out, err = llmeval("cache", "clear")

    assert (status, out) == (1, [])
    assert "delete predictions of .llmeval/predictions.db?" in err
    assert "--yes" in err
    assert list(found(path, K1)) == [K1]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("answer", "status", "left"),
    [("y\n", 0, []), ("Yes\n", 0, []), ("n\n", 1, [K1]), ("\n", 1, [K1])],
)
def test_clear_asks_at_a_terminal(llmeval, path, monkeypatch, answer, status, left):
    store(path, {K1: SHORT})
    monkeypatch.setattr("sys.stdin", Terminal(answer))

    done, out, _ = llmeval("cache", "clear", "--older-than", "0d")

    assert done == status
    assert out[0].startswith("delete predictions older than 0 s of .llmeval/predictio")
    assert ("nothing was deleted" in out[0]) == (status == 1)
    assert list(found(path, K1)) == left


@pytest.mark.parametrize("name", ["file.jsonl", "file.jsonl.gz"])
def test_what_is_exported_comes_back_elsewhere_bit_by_bit(
    llmeval, path, tmp_path, name
):
    store(path, {K1: FULL}, days_old=2)
    store(path, {K2: SHORT}, run_id="later")
    with Predictions(path, run_id="run") as opened:
        generation = opened.generation("e", "instance", latest=False)
        opened.finish("e")
    before = found(path, K1, K2)

    assert llmeval("cache", "export", name) == (
        0,
        [f"exported 2 predictions to {name}"],
        "",
    )
    status, out, _ = llmeval("cache", "import", name, "--dir", "other")

    assert status == 0
    assert out == ["imported 2 predictions into other/predictions.db"]
    other = tmp_path / "other" / "predictions.db"
    assert found(other, K1, K2) == before
    assert before[K1] == replace(FULL, attempts=0)
    with Predictions(other, run_id="new") as opened:
        assert opened.generation("e", None, latest=True) == generation
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted(
        [".llmeval", name, "other"]
    )


def test_the_file_is_json_lines_of_ascii_compressed_by_its_ending(llmeval, path):
    store(path, {K1: FULL})
    llmeval("cache", "export", "a.jsonl")
    llmeval("cache", "export", "a.jsonl.gz")

    plain = (path.parents[1] / "a.jsonl").read_bytes()
    header, line, last = map(json.loads, plain.decode("ascii").splitlines())

    assert header == {"format": "llmeval predictions", "schema": 2}
    assert (line["key"], line["text"]) == ("01" * 16, FULL.text)
    assert last == {"generations": 0, "predictions": 1}
    assert gzip.decompress((path.parents[1] / "a.jsonl.gz").read_bytes()) == plain


def test_more_predictions_than_one_read_takes_are_exported(llmeval, path):
    store(path, {i.to_bytes(16, "big"): SHORT for i in range(2_500)})

    llmeval("cache", "export", "file")
    _, out, _ = llmeval("cache", "import", "file", "--dir", "other")

    assert out[0].startswith("imported 2,500 predictions into ")


def test_an_import_merges_the_newer_wins_and_twice_is_once(llmeval, path, tmp_path):
    def answer(text):
        return Prediction(reply=Reply(text=text))

    store(path, {K1: answer("new"), K2: answer("only here")})
    store(path, {K3: answer("old")}, days_old=2)
    other = tmp_path / "other" / "predictions.db"
    store(other, {K1: answer("old")}, days_old=1)
    store(other, {K3: answer("new")}, days_old=1)
    llmeval("cache", "export", "file")

    first = llmeval("cache", "import", "file", "--dir", "other")
    again = llmeval("cache", "import", "file", "--dir", "other")

    assert first[1] == [
        "imported 2 predictions into other/predictions.db",
        "1 prediction stood there already",
    ]
    assert again[1] == [
        "imported 0 predictions into other/predictions.db",
        "3 predictions stood there already",
    ]
    texts = {key: item.text for key, item in found(other, K1, K2, K3).items()}
    assert texts == {K1: "new", K2: "only here", K3: "new"}


def test_the_newer_generation_of_an_unpinned_model_stays(llmeval, path, tmp_path):
    other = tmp_path / "other" / "predictions.db"

    def generation(path):
        with Predictions(path, run_id="run") as opened:
            return opened.generation("e", None, latest=True)

    old, new = generation(path), generation(other)
    llmeval("cache", "export", "old")
    llmeval("cache", "export", "new", "--dir", "other")
    llmeval("cache", "import", "old", "--dir", "other")
    llmeval("cache", "import", "new")

    assert old != new
    assert generation(path) == generation(other) == new


def test_a_secret_of_this_environment_is_left_out(llmeval, path, monkeypatch):
    store(path, {K1: Prediction(reply=Reply(text="a s3cr3t-value")), K2: SHORT})
    llmeval("cache", "export", "file")
    monkeypatch.setenv("A_TOKEN", "s3cr3t-value")

    _, out, _ = llmeval("cache", "import", "file", "--dir", "other")

    assert out == [
        "imported 1 prediction into other/predictions.db",
        "1 prediction left out: a secret stands in the text",
    ]


def with_field(**changes):
    def damage(lines):
        entry = json.loads(lines[2])
        lines[2] = json.dumps(entry | changes)

    return damage


def with_line(index, text):
    def damage(lines):
        lines[index] = text

    return damage


LONG = '{"key": "' + "0" * 5_000 + '"}'


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (with_line(0, '{"a": 1}'), "file:1: it is not an export; make one with: llmev"),
        (
            with_line(0, '{"format": "llmeval predictions", "schema": 3}'),
            "file:1: it has schema 3, and this version of the package reads 2",
        ),
        (with_line(2, "{"), "file:3: Expecting property name"),
        (with_line(2, "\xff"), "file:3: Expecting value"),
        (with_line(2, "[1]"), "file:3: b'[1]\\n' is not a JSON object"),
        (with_line(2, LONG), "file:3: fields that are missing or not known: attempts,"),
        (with_field(more=1), "file:3: fields that are missing or not known: more"),
        (with_field(key="0" * 31), f"file:3: 'key' cannot be '{'0' * 31}'"),
        (with_field(key="g" * 32), f"file:3: 'key' cannot be '{'g' * 32}'"),
        (with_field(text=""), "file:3: 'text' cannot be ''"),
        (with_field(text=None), "file:3: 'text' cannot be None"),
        (with_field(attempts=True), "file:3: 'attempts' cannot be True"),
        (with_field(prompt_tokens=2**63), "file:3: 'prompt_tokens' cannot be 92233720"),
        (with_field(stored_at=float("nan")), "file:3: 'stored_at' cannot be nan"),
        (with_field(stored_at=float("inf")), "file:3: 'stored_at' cannot be inf"),
        (with_field(cost_usd="1"), "file:3: 'cost_usd' cannot be '1'"),
        (lambda lines: lines.pop(2), "file:4: lines are missing: "),
        (lambda lines: lines.pop(), "file was cut short: its last line is missing"),
        (lambda lines: lines.clear(), "file was cut short: its last line is missing"),
        (lambda lines: lines.append("{}"), "file:6: there is something after the last"),
    ],
)
def test_a_damaged_file_is_named_with_its_line_and_nothing_is_imported(
    llmeval, path, tmp_path, damage, message
):
    store(path, {K1: SHORT, K2: SHORT})
    with Predictions(path, run_id="run") as opened:
        opened.generation("e", None, latest=False)
    llmeval("cache", "export", "file")
    lines = (tmp_path / "file").read_text().splitlines()
    # The generation comes last of the three, so that something good comes before.
    lines[1:4] = [lines[2], lines[3], lines[1]]
    damage(lines)
    (tmp_path / "file").write_text("".join(f"{line}\n" for line in lines))

    status, out, err = llmeval("cache", "import", "file", "--dir", "other")

    assert (status, out) == (1, [])
    assert err.startswith(f"llmeval: {message}")
    assert err.endswith("; nothing was imported\n")
    assert found(tmp_path / "other" / "predictions.db", K1, K2) == {}


def test_a_compressed_file_that_was_cut_short_is_refused(llmeval, path, tmp_path):
    store(path, {i.to_bytes(16, "big"): SHORT for i in range(500)})
    llmeval("cache", "export", "file.gz")
    whole = (tmp_path / "file.gz").read_bytes()
    (tmp_path / "file.gz").write_bytes(whole[: len(whole) // 2])

    status, _, err = llmeval("cache", "import", "file.gz", "--dir", "other")

    assert status == 1
    assert err.startswith("llmeval: cannot read file.gz: Compressed file ended before")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "none"], "cannot read none: [Errno 2] No such file or directory"),
        (["export", "none/file"], "cannot write none/file: [Errno 2] No such file or"),
    ],
)
def test_a_file_that_cannot_be_opened_is_named(llmeval, path, arguments, message):
    store(path, {K1: SHORT})

    status, _, err = llmeval("cache", *arguments)

    assert status == 1
    assert err.startswith(f"llmeval: {message}")


def test_an_export_that_fails_leaves_the_earlier_file_alone(llmeval, path, tmp_path):
    store(path, {K1: SHORT})
    llmeval("cache", "export", "file")
    before = (tmp_path / "file").read_bytes()
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE predictions")
        db.execute("CREATE TABLE predictions (id INTEGER)")

    assert llmeval("cache", "export", "file")[0] == 1
    assert (tmp_path / "file").read_bytes() == before
    assert sorted(item.name for item in tmp_path.iterdir()) == [".llmeval", "file"]
