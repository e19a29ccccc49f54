"""The rows of an evaluation in their temporary file."""

import gc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.records import Example
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Reply
from pytest_llmeval.records import Row
from pytest_llmeval.records import RowError
from pytest_llmeval.results import Columns
from pytest_llmeval.rows import RowLog

from .processes import python


def no_redaction(text):
    return text


def log_of(rows, fields=None, redact=no_redaction, folder=None):
    names = {name for row in rows for name in row.scores}
    columns = Columns([row.example.id for row in rows], names)
    return RowLog(columns, fields or {}, redact, folder)


def row_of(row_id="r0", text="answer", **example):
    return Row(
        example=Example(id=row_id, input="question", **example),
        prediction=Prediction(reply=Reply(text=text)),
        scores={"m": 1.0},
    )


# JSON joins a high surrogate and a low one after it, so only low ones are drawn.
TEXT = st.text(
    st.characters() | st.characters(min_codepoint=0xDC00, max_codepoint=0xDFFF)
)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
CELLS = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXT, inner.filter(lambda cell: cell is not None), max_size=3)
    ),
    max_leaves=6,
)
COUNTS = st.none() | st.integers(0, 2**40)
TIMES = st.none() | st.floats(0, 1e12)


@st.composite
def examples(draw, row_id):
    """Draw an example whose columns are where `FIELDS` says."""
    metadata = draw(st.dictionaries(TEXT, CELLS, max_size=3))
    references = draw(st.lists(TEXT, max_size=3))
    context, question = draw(st.none() | TEXT), draw(TEXT)
    columns = {"key": row_id, "question": question}
    if len(references) == 1:
        columns["answer"] = draw(st.sampled_from([references[0], references]))
    elif references:
        columns["answer"] = references
    if context is not None or draw(st.booleans()):
        columns["passage"] = context
    return Example(
        id=row_id,
        input=question,
        references=tuple(references),
        context=context,
        metadata=metadata | columns,
    )


FIELDS = {
    "id": "key",
    "input": "question",
    "references": ("answer",),
    "context": "passage",
}


def errors(row_id, kinds):
    return st.builds(
        RowError,
        id=st.just(row_id),
        kind=st.sampled_from(kinds),
        message=TEXT,
        attempts=st.integers(0, 9),
    )


@st.composite
def rows(draw, row_id):
    example = draw(examples(row_id))
    numbers = {
        "latency_ms": draw(TIMES),
        "queue_ms": draw(TIMES),
        "attempts": draw(st.integers(0, 9)),
        "stored_at": draw(TIMES),
    }
    if draw(st.booleans()):
        error = draw(errors(row_id, ["timeout", "http_500"]))
        prediction = Prediction(error=error, **numbers)
        return Row(example=example, prediction=prediction, scores={}, errors=(error,))
    reply = Reply(
        text=draw(TEXT),
        prompt_tokens=draw(COUNTS),
        output_tokens=draw(COUNTS),
        cost_usd=draw(TIMES),
    )
    return Row(
        example=example,
        prediction=Prediction(reply=reply, **numbers),
        scores=draw(st.dictionaries(TEXT, st.floats(-1e9, 1e9), max_size=3)),
        errors=tuple(draw(st.lists(errors(row_id, ["scorer"]), max_size=2))),
    )


@st.composite
def tables(draw):
    ids = draw(st.lists(TEXT, min_size=1, max_size=5, unique=True))
    order = draw(st.permutations(range(len(ids))))
    return [draw(rows(row_id)) for row_id in ids], order


@given(tables())
def test_rows_come_back_as_they_were_whatever_the_order_of_adding(table):
    given_rows, order = table
    log = log_of(given_rows, FIELDS)

    for count, position in enumerate(order, 1):
        log.add(position, given_rows[position])
        first, last = order[0], position
        for at in (last, first):  # reading moves the place in the file
            assert log[at] == given_rows[at]
        assert log.done == count

    assert list(log) == given_rows
    assert log[1:] == given_rows[1:]
    assert log[-1] == given_rows[-1]


def test_a_text_that_a_column_repeats_is_written_once():
    text = "a long question " * 50
    example = Example(id="r0", input=text, metadata={"key": "r0", "question": text})
    row = Row(example=example, prediction=Prediction(), scores={})
    log = log_of([row], FIELDS)
    log.add(0, row)

    (line,) = log.lines()

    assert line.count(b"a long question") == 50
    assert log[0] == row


def test_secrets_are_taken_out_of_every_text():
    secret = "canary-1"
    error = RowError(id="r0", kind="scorer", message=f"it saw {secret}")
    row = row_of(
        text=secret,
        references=(f"x{secret}", "y"),
        context=secret,
        metadata={"deep": [{"er": secret}], "context": secret},
    )
    row = Row(
        example=row.example,
        prediction=row.prediction,
        scores=row.scores,
        errors=(error,),
    )
    log = log_of([row], {"context": "context"}, lambda text: text.replace(secret, "#"))
    log.add(0, row)

    assert secret.encode() not in b"".join(log.lines())
    assert log[0].prediction.text == log[0].example.context == "#"
    assert log[0].example.references == ("x#", "y")
    assert log[0].example.metadata == {"deep": [{"er": "#"}], "context": "#"}
    assert log[0].errors[0].message == "it saw #"


def test_a_row_is_added_once():
    log = log_of([row_of(), row_of("r1")])
    log.add(0, row_of())

    with pytest.raises(RuntimeError, match="row 'r0' was added twice"):
        log.add(0, row_of())

    assert (log.has(0), log.has(1), log.done) == (True, False, 1)


def open_files(folder):
    links = Path("/proc/self/fd").iterdir()
    targets = [str(link.readlink()) for link in links if link.is_symlink()]
    return [target for target in targets if target.startswith(str(folder))]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_the_file_has_no_name_and_ends_with_the_log(tmp_path):
    log = log_of([row_of()], folder=tmp_path)
    log.add(0, row_of())
    assert list(tmp_path.iterdir()) == []
    assert len(open_files(tmp_path)) == 1

    del log
    gc.collect()

    assert open_files(tmp_path) == []


def test_a_folder_that_takes_no_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        log_of([row_of()], folder=tmp_path / "missing")

    assert str(caught.value).startswith(
        f"cannot keep the rows in {tmp_path / 'missing'}: No such file or directory; "
        "free some space there or choose another folder"
    )


FULL_DISK = """\
import resource
import signal
import sys
from pathlib import Path

from pytest_llmeval.errors import ConfigurationError

from tests.unit.test_rows import log_of
from tests.unit.test_rows import row_of

rows = [row_of(f"r{i}") for i in range(10)]
log = log_of(rows, folder=Path(sys.argv[1]))
log.add(0, rows[0])
limit = len(next(log.lines())) * 7 // 2
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for position, row in enumerate(rows[1:], 1):
    try:
        log.add(position, row)
    except ConfigurationError as error:
        print(error)
        break
print(position, log.done, log.has(position))
assert log[:3] == rows[:3]
"""


def test_a_full_disk_is_named_and_leaves_earlier_rows_whole(tmp_path):
    done = python(FULL_DISK, tmp_path)

    message, counts = done.stdout.splitlines()
    assert message.startswith(f"cannot keep the rows in {tmp_path}: File too large; ")
    assert message.endswith(
        "replies are stored, and the same command goes on from there"
    )
    assert counts == "3 3 False"
    assert (done.returncode, done.stderr) == (0, "")
