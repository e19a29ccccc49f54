"""What can be measured of a call without knowing the right answer.

Each signal is a number of a known range, because a detector needs one; what is beyond
counts as its end. A signal that a call has no answer to is None, and the call does not
count in it.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pytest_llmeval.drift.series import Better
from pytest_llmeval.errors import MissingDependency
from pytest_llmeval.errors import optional
from pytest_llmeval.metrics import built_in_metrics
from pytest_llmeval.metrics import normalize
from pytest_llmeval.monitor.calls import Call
from pytest_llmeval.monitor.words import has_listed_word
from pytest_llmeval.records import Example
from pytest_llmeval.records import Metric
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Reply


LONGEST = 4_000
SLOWEST_MS = 10_000.0
LETTERS_FOR_LANGUAGE = 20
"""In shorter texts a language is a guess."""
LOOKED_AT = 2_000
"""Characters of a text whose language is told, and in which a refusal begins."""
REFUSAL = re.compile(
    r"\bI(?: a|')m (?:very |so |really )?(?:sorry|afraid)\b"
    r"|\bI(?: am|'m)? (?:can(?:no|')t|can not|could not|couldn't|won't|will not"
    r"|unable to|not able to|not allowed to) "
    r"(?:help|assist|answer|provide|comply|fulfil|do that|discuss|share|give|support)"
    r"|\bas an? (?:AI|artificial intelligence)\b"
    r"|\bIch kann (?:Ihnen |dir |dabei |leider )*nicht (?:helfen|antworten)"
    r"|\b(?:Es )?tut mir (?:sehr )?leid\b"
    r"|\bje (?:suis désolé|ne peux pas)|\blo siento\b|\bno puedo (?:ayudar|responder)",
    re.IGNORECASE,
)
REFUSAL_WITHIN = 200
"""A refusal comes first; later on the words may mean anything."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One label-free metric."""

    name: str
    score: Callable[[Call], float | None]
    meaning: str
    """For the documentation: a phrase."""
    better: Better | None = None
    """None where any change is worth an alarm."""
    high: float | None = 1.0
    """End of its range, which begins at 0; None: without bounds, so not watched."""


def signals() -> dict[str, Signal]:
    """Return the signals by name; the language only where its package is installed."""
    return {
        signal.name: signal
        for signal in ALL
        if signal.name != "language_match" or language_package() is not None
    }


def language_package() -> object | None:
    """Return the package that tells languages, or None where it is not installed."""
    try:
        return optional("py3langid")
    except MissingDependency:
        return None


def _of_answer(score: Callable[[str], float]) -> Callable[[Call], float | None]:
    return lambda call: None if call.output is None else score(call.output)


def _failure(call: Call) -> float:
    return float(call.output is None)


def _length(text: str) -> float:
    return float(min(len(text), LONGEST))


def _refusal(text: str) -> float:
    plain = text[:REFUSAL_WITHIN].replace("’", "'")
    return float(not text.strip() or REFUSAL.search(plain) is not None)


def _json_valid(text: str) -> float:
    score = _metric("json_valid").score
    example = Example(id="", input="")
    return score(Prediction(reply=Reply(text=text)), example) if score else 0.0


@functools.cache
def _metric(name: str) -> Metric:
    return built_in_metrics()[name]


def _toxic(text: str) -> float:
    return float(has_listed_word(text))


def _context_overlap(call: Call) -> float | None:
    """Return the share of an answer's words that stand in its context."""
    if call.output is None or not call.context:
        return None
    said = normalize(call.output).split()
    if not said:
        return None
    given = Counter(normalize(call.context).split())
    return (Counter(said) & given).total() / len(said)


def _language_match(call: Call) -> float | None:
    """Return whether the answer is in the language of the question."""
    if call.output is None:
        return None
    asked, said = language_of(call.input), language_of(call.output)
    return None if asked is None or said is None else float(asked == said)


def language_of(text: str) -> str | None:
    """Return the likeliest language of a text; None where it is too short to tell."""
    part = text[:LOOKED_AT]
    if sum(char.isalpha() for char in part) < LETTERS_FOR_LANGUAGE:
        return None
    return _classified(part)


@functools.lru_cache(1_024)
def _classified(text: str) -> str:
    return str(optional("py3langid").classify(text)[0])


def _latency_ms(call: Call) -> float | None:
    return None if call.latency_ms is None else min(call.latency_ms, SLOWEST_MS)


ALL = (
    Signal("failures", _failure, "share of calls that failed", "lower"),
    Signal(
        "input_length",
        lambda call: _length(call.input),
        f"characters of a question, at most {LONGEST:,}",
        high=float(LONGEST),
    ),
    Signal(
        "length",
        _of_answer(_length),
        f"characters of an answer, at most {LONGEST:,}",
        high=float(LONGEST),
    ),
    Signal(
        "refusals",
        _of_answer(_refusal),
        "share of answers that are empty, or begin with words of a refusal",
        "lower",
    ),
    Signal(
        "language_match",
        _language_match,
        "share of answers in the language of their question (py3langid)",
        "higher",
    ),
    Signal("json_valid", _of_answer(_json_valid), "share of answers that are JSON"),
    Signal(
        "toxicity",
        _of_answer(_toxic),
        "share of answers with a word of the word list",
        "lower",
    ),
    Signal(
        "context_overlap",
        _context_overlap,
        "share of an answer's words that stand in its context",
        "higher",
    ),
    Signal(
        "latency_ms",
        _latency_ms,
        f"milliseconds to an answer, at most {SLOWEST_MS:,.0f}",
        "lower",
        SLOWEST_MS,
    ),
    Signal(
        "output_tokens",
        lambda call: call.output_tokens,
        "tokens of an answer",
        high=None,
    ),
    Signal("cost_usd", lambda call: call.cost_usd, "US dollars of a call", high=None),
)
