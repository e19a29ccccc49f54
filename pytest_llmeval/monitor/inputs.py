"""Whether a day was asked what the days of the baseline were asked.

Of an input its hashed trigrams, its length and its language are kept, and never its
text: one file for each day.
"""

from __future__ import annotations

import datetime
import io
import math
import zipfile
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.drift import Bins
from pytest_llmeval.drift import category_bins
from pytest_llmeval.drift import compare_texts
from pytest_llmeval.drift import features
from pytest_llmeval.drift import number_bins
from pytest_llmeval.drift import stability_index
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.examples import sample_place
from pytest_llmeval.monitor.calls import Call
from pytest_llmeval.monitor.signals import language_of
from pytest_llmeval.monitor.signals import language_package
from pytest_llmeval.store import replace_file


if TYPE_CHECKING:
    from numpy.typing import NDArray


SCHEMA = 1
MOST_INPUTS = 300
"""Of a day; those whose ids have the smallest hashes."""
MOST_COMPARED = 2_100
"""Of all days of the baseline together."""
MOST_DAYS = 35
"""That are kept beside those of the baseline, for one that begins later."""
MOST_DIVISIONS = 50_000
FEW_DIVISIONS = 999
SUSPECT = 0.05
"""Only a p-value of at most that is worth its exact number, which takes seconds."""
DRIFT_P = "input_drift_p"
SIZES = {"trigrams": "distance", "length": "psi", "language": "psi"}
"""What is compared, and what says how large a difference is."""
METRICS = frozenset(
    [DRIFT_P, *(f"input_{part}_{end}" for part in SIZES for end in (SIZES[part], "p"))]
)
"""Metrics that compare a day with others, so that no detector takes them."""
UNREADABLE = (
    *(OSError, ValueError, TypeError, KeyError, EOFError),
    zipfile.BadZipFile,
)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is kept of the inputs of a day, or of several, in an order by chance."""

    calls: int
    """That they were chosen from."""
    trigrams: NDArray[Any]
    lengths: NDArray[Any]
    languages: NDArray[Any]
    """Codes, empty where a text is too short; none without py3langid."""

    def __len__(self) -> int:
        return len(self.lengths)


def inputs_of(day: datetime.date, calls: Sequence[Call]) -> Inputs:
    """Return what is kept of the calls of a day."""
    import numpy as np

    def place(call: Call) -> int:
        return sample_place(call.id, day.toordinal())

    texts = [call.input for call in sorted(calls, key=place)[:MOST_INPUTS]]
    told = texts if language_package() is not None else []
    return Inputs(
        len(calls),
        features(texts),
        np.array([len(text) for text in texts], dtype=np.int64),
        np.array([language_of(text) or "" for text in told], dtype=np.str_),
    )


class KeptInputs:
    """The files of one model and one source of traffic.

    Args:
        folder: Is made with the first file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, day: datetime.date, calls: Sequence[Call]) -> None:
        """Keep a day, unless more was seen of it before: its log is being removed.

        Raises:
            ConfigurationError: it cannot be written, or is there and no such file.
        """
        path, before = self._path(day), self.read(day)
        if before is not None and before.calls > len(calls):
            return
        found, buffer = inputs_of(day, calls), io.BytesIO()
        _save(buffer, found)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, buffer.getvalue())
        except OSError as error:
            raise ConfigurationError(
                f"cannot keep what inputs were like in {self._folder}: {error}; name "
                "another folder with --dir"
            ) from None

    def read(self, day: datetime.date) -> Inputs | None:
        """Return what is kept of a day; None where nothing is.

        Raises:
            ConfigurationError: it is no such file.
        """
        path = self._path(day)
        try:
            return _load(path)
        except FileNotFoundError:
            return None
        except UNREADABLE:
            raise ConfigurationError(
                f"{path} is no file of inputs of schema {SCHEMA}; remove it, and its "
                "day is read again while --days reach back to it"
            ) from None

    def baseline(self, days: Sequence[datetime.date]) -> Inputs | None:
        """Return the inputs of some days together; None unless all are kept."""
        found = [one for one in map(self.read, days) if one is not None]
        if not found or len(found) < len(days):
            return None
        return _together(found, MOST_COMPARED // len(days) + 1)

    def forget(self, but: Collection[datetime.date]) -> None:
        """Remove old days."""
        for path in sorted(self._folder.glob("*.npz"))[:-MOST_DAYS]:
            if path not in {self._path(day) for day in but}:
                path.unlink(missing_ok=True)

    def _path(self, day: datetime.date) -> Path:
        return self._folder / f"{day}.npz"


def compare_inputs(
    base: Inputs, now: Inputs, level: float, seed: int
) -> list[dict[str, Any]]:
    """Return how inputs differ from those of a baseline, as metrics of the history.

    Args:
        base: Of the baseline.
        now: Of another day.
        level: P-values below it can be told from 0, where `MOST_DIVISIONS` allow.
        seed: The same one gives the same numbers.
    """
    if min(len(base), len(now)) < 2:
        return [_record(DRIFT_P, None, len(now))]
    most = min(MOST_DIVISIONS, math.ceil(2 * len(SIZES) / level))
    found = {
        "trigrams": _compare_trigrams(base, now, seed, most),
        "length": _compare(number_bins, base.lengths, now.lengths, seed, most),
    }
    if len(base.languages) and len(now.languages):
        found["language"] = _compare(
            category_bins, _known(base.languages), _known(now.languages), seed, most
        )
    # The smallest of several p-values is that small by chance more often than one.
    least = min(p_value for _, p_value in found.values())
    values = {DRIFT_P: min(1.0, len(found) * least)}
    for part, (size, p_value) in found.items():
        values |= {f"input_{part}_{SIZES[part]}": size, f"input_{part}_p": p_value}
    return [_record(name, value, len(now)) for name, value in values.items()]


def _compare_trigrams(
    base: Inputs, now: Inputs, seed: int, most: int
) -> tuple[float, float]:
    shift = compare_texts(base.trigrams, now.trigrams, seed, FEW_DIVISIONS)
    if shift.p_value <= SUSPECT:
        shift = compare_texts(base.trigrams, now.trigrams, seed, most)
    return shift


def _compare(
    bins: Callable[[Any], Bins], base: Any, now: Any, seed: int, most: int
) -> tuple[float, float]:
    return stability_index(bins(list(base)), list(now), seed, most)


def _known(languages: NDArray[Any]) -> list[str | None]:
    return [str(language) or None for language in languages]


def _record(name: str, value: float | None, n: int) -> dict[str, Any]:
    return {
        "evaluation": 1,
        "metric": name,
        "slice_by": "",
        "slice_value": "",
        "value": value,
        "lower": None,
        "upper": None,
        "confidence": None,
        "n": n,
        "errors": 0,
        "higher_is_better": None,
    }


def _together(days: Sequence[Inputs], most: int) -> Inputs:
    import numpy as np

    # Languages that some of the days lack would be as many missing ones.
    has_languages = all(len(one.languages) == len(one) for one in days)
    told = days if has_languages else []
    return Inputs(
        sum(one.calls for one in days),
        np.concatenate([one.trigrams[:most] for one in days]),
        np.concatenate([one.lengths[:most] for one in days]),
        np.concatenate([np.empty(0, np.str_), *(one.languages[:most] for one in told)]),
    )


def _save(file: io.BytesIO, inputs: Inputs) -> None:
    import numpy as np

    np.savez_compressed(
        file,
        schema=SCHEMA,
        calls=inputs.calls,
        trigrams=inputs.trigrams,
        lengths=inputs.lengths,
        languages=inputs.languages,
    )


def _load(path: Path) -> Inputs:
    import numpy as np

    # Of a path that is no archive NumPy would leave the file open.
    file = io.BytesIO(path.read_bytes())
    with np.load(file, allow_pickle=False) as stored:
        if int(stored["schema"]) != SCHEMA:
            raise ValueError(path)
        return Inputs(
            int(stored["calls"]),
            stored["trigrams"],
            stored["lengths"],
            stored["languages"],
        )
