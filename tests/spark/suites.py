"""Evaluations whose rows, scores and gates are the same wherever they are computed."""

import datetime
import hashlib
import json
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas
import pyarrow
from pyarrow import parquet

from pytest_llmeval import Metric
from pytest_llmeval.errors import CallError
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Reply


TEXTS = (
    "plain",
    "two\nlines\r\nand\ta tab",
    "quotes \" ' ` \\ and, commas; {input} {{price}}",
    "emoji 👩‍🚀, e\u0301, ß, İ, 漢字",
    "control \x01\x1b[31m\x7f\x85\u2028",
    "alone \ud800 and \udfff",
    " ",
    "NULL",
    "nan",
    "1.0",
    "fail here",
)
CELLS = (
    {"price": 1, "flag": True, "reference": "plain"},
    {"price": 1.0, "flag": False, "reference": ["1.0", "NULL", "nan"]},
    {"price": 0.1, "flag": True, "reference": ["", "\ud800"], "note": None},
    {"price": "1", "flag": "true", "reference": 1, "note": "some"},
    {
        "price": -(2**40),
        "flag": False,
        "reference": [1.5, 2, "ß"],
        "nested": {"b": [1, 1.0, None, {"é\n": "\x02"}], "a": {}, "c": None},
    },
)
HOSTILE = [{"input": text, **cells} for text in TEXTS for cells in CELLS]
HOSTILE += [HOSTILE[0], HOSTILE[0], HOSTILE[27]]  # copies, which are rows too
PROMPT = "{input}|{price}|{flag}|{{price}} {x y}"
TOPICS = ("billing", "refunds", "größe, “neu”", "a\nb", "other")
GRADED = [
    {
        "id": f"q{at:03}",
        "question": f"Wie viel kostet №{at}?\nBitte.",
        "answer": str(at % 7),
        "topic": TOPICS[at % 5 if at % 4 else 0],
        "person": f"p{at * at % 23}",
    }
    for at in range(120)
]
MOMENT = datetime.datetime(2024, 3, 31, 1, 30, 0, 120_000)  # noqa: DTZ001  # on purpose


def digest(text):
    """Return a number below 1000 that a text alone decides."""
    content = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=4).digest()) % 1000


# Models. They run in other processes, so that they keep nothing.


def hostile_model(prompt):
    if "fail" in prompt:
        raise ValueError(f"no answer to {prompt} \ud83d")
    return prompt.partition("|")[0] if digest(prompt) % 2 else f"{prompt} \udead"


def before(prompt):
    return f"{digest(prompt) % 11 / 10} {digest(prompt) % 7}"


def after(prompt):
    """Better for most rows, worse for some, the same for others."""
    score = digest(prompt) % 11
    change = -3 if digest(prompt) % 5 == 0 else 4 if digest(prompt) % 3 else 0
    return f"{min(max(score + change, 0), 10) / 10} {digest(prompt) % 5}"


async def alone(example):
    """Return all that a model sees of an example."""
    return json.dumps([example.id, example.input, example.references, example.context])


def echo(prompt):
    return prompt


class Unsteady:
    """A model that answers each repeat otherwise, and one of them not at all."""

    ref = ModelRef(scheme="python", name="unsteady", version="1", pinned=True)
    concurrency, sees_example = None, False

    @asynccontextmanager
    async def session(self):
        yield self.ask

    async def ask(self, prompt):
        number = digest(f"{prompt.user} {prompt.repeat}")
        if number % 37 == 0:
            raise CallError("broken", "no answer")
        return Reply(text=f"{number % 3}", prompt_tokens=number, output_tokens=2)

    def close(self):
        pass


# Metrics.


def letters(prediction: str, example) -> float:
    if "漢" in prediction:
        raise ValueError("not these letters")
    return len(prediction) / 7


def _first_number(prediction, example):
    return float(prediction.text.split()[0])


def _small(prediction, example):
    return digest(prediction.text) / 999


UNIT = Metric(name="unit", score=_first_number, range=(0, 1), source="suites")
COST = Metric(
    name="cost",
    score=lambda prediction, example: digest(prediction.text) / 100 - 5,
    range=(-5, 5),
    higher_is_better=False,
)
SMALL = Metric(name="small", score=_small, range=(0, 1))


def right(prediction: str, example) -> bool:
    return prediction == example.references[0]


# Data in each form.


def write_graded(folder: Path):
    """Return the same rows as a list, a frame, and files."""
    frame = pandas.DataFrame(GRADED)
    frame.to_csv(folder / "graded.csv", index=False)
    frame.set_index("topic", drop=False).to_parquet(folder / "graded.parquet")
    (folder / "graded.jsonl").write_text("".join(map(_line, GRADED)), "utf-8")
    return {
        "list": GRADED,
        "frame": frame,
        "csv": folder / "graded.csv",
        "jsonl": folder / "graded.jsonl",
        "parquet": folder / "graded.parquet",
    }


def write_hostile(folder: Path):
    path = folder / "hostile.jsonl"
    path.write_text("".join(map(_line, HOSTILE)), "utf-8")
    return path


def _line(row):
    return json.dumps(row) + "\n"


def write_moments(folder: Path):
    """Return a Parquet file with what JSON has no form for."""
    rows, hour = range(30), datetime.timedelta(hours=1)
    struct = pyarrow.struct([("when", pyarrow.date32()), ("n", pyarrow.int16())])
    columns = {
        "input": [f"q{at}\n" for at in rows],
        "day": [MOMENT.date() + at * 24 * hour for at in rows],
        "naive": pyarrow.array(
            [MOMENT + at * hour for at in rows], pyarrow.timestamp("us")
        ),
        "aware": pyarrow.array(
            [(MOMENT + at * hour).replace(tzinfo=ZoneInfo("UTC")) for at in rows],
            pyarrow.timestamp("us", tz="Europe/Berlin"),
        ),
        "amount": [Decimal(at).scaleb(-2) for at in rows],
        "ratio": pyarrow.array([None, float("nan"), 0.5] * 10, pyarrow.float64()),
        "single": pyarrow.array([at / 3 for at in rows], pyarrow.float32()),
        "answers": [[f"a{at}", "ü"][: at % 3] for at in rows],
        "about": pyarrow.array(
            [{"when": MOMENT.date(), "n": at} for at in rows], struct
        ),
    }
    path = folder / "moments.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    return path


MOMENTS_PROMPT = "{input} {day} {naive} {aware} {amount} {single}"
