"""Built-in metrics and how names and callables become metrics.

Every row-level metric takes the best match over an example's references, as SQuAD and
rouge-score do.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import string
import warnings
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from typing import Literal

import pluggy

from pytest_llmeval.config import nearest
from pytest_llmeval.errors import MetricError
from pytest_llmeval.errors import optional
from pytest_llmeval.fingerprint import digest_code
from pytest_llmeval.records import Dataset
from pytest_llmeval.records import Example
from pytest_llmeval.records import Metric
from pytest_llmeval.records import Prediction
from pytest_llmeval.text import first_few


UNIT = (0.0, 1.0)
PACKAGES = {"bleu": "sacrebleu", "chrf": "sacrebleu"}
SQUAD = (
    "Rajpurkar et al. 2016, evaluate-v1.1.py: lower case, no punctuation, no articles"
)
LABELS = (
    "labels compared in lower case without surrounding space and punctuation; macro "
    "average over the labels of the references, 0 for a label that is never predicted "
    "(scikit-learn with labels=sorted(set(y_true)), zero_division=0)"
)


def normalize(text: str) -> str:
    """Return SQuAD's normal form: lower case, no punctuation, articles, extra space."""
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def label(text: str) -> str:
    """Return a label's normal form: lower case, no space or punctuation around it."""
    return text.casefold().strip(string.whitespace + string.punctuation)


def _best(
    score: Callable[[str, str], float],
) -> Callable[[Prediction, Example], float]:
    def best(prediction: Prediction, example: Example) -> float:
        return max(score(prediction.text, wanted) for wanted in example.references)

    return best


def _exact_match(got: str, wanted: str) -> float:
    return float(normalize(got) == normalize(wanted))


def _token_f1(got: str, wanted: str) -> float:
    found, expected = normalize(got).split(), normalize(wanted).split()
    if not found or not expected:
        return float(found == expected)
    same = (Counter(found) & Counter(expected)).total()
    return 2.0 * same / (len(found) + len(expected))


def _accuracy(got: str, wanted: str) -> float:
    return float(label(got) == label(wanted))


def _contains(got: str, wanted: str) -> float:
    return float(bool(wanted) and wanted.casefold() in got.casefold())


def _json_valid(prediction: Prediction, example: Example) -> float:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(prediction.text, parse_constant=refuse, parse_int=len)
    except (ValueError, RecursionError):
        return 0.0
    return 1.0


def _latency_ms(prediction: Prediction, example: Example) -> float:
    if prediction.latency_ms is None:
        raise MetricError("the row has no latency")
    return prediction.latency_ms


def _output_tokens(prediction: Prediction, example: Example) -> float:
    if prediction.reply is None or prediction.reply.output_tokens is None:
        raise MetricError("the model does not report output tokens")
    return float(prediction.reply.output_tokens)


def regex_match(pattern: str, *, name: str = "regex_match") -> Metric:
    """Return a metric that is 1 where the prediction matches a pattern somewhere.

    The built-in ``"regex_match"`` takes the pattern from the references instead.

    Args:
        pattern: A regular expression of Python's ``re``.
        name: Tells several patterns in one evaluation apart.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise MetricError(f"{pattern!r} is no regular expression: {error}") from None

    def matches(prediction: Prediction, example: Example) -> float:
        return float(compiled.search(prediction.text) is not None)

    source = f"re.search({pattern!r})"
    return Metric(name=name, score=matches, range=UNIT, inline=True, source=source)


def _matches_reference(got: str, wanted: str) -> float:
    return float(bool(wanted) and re.search(wanted, got) is not None)


def rouge(
    name: Literal["rouge1", "rouge2", "rougeL", "rougeLsum"],
    *,
    stemmer: bool = False,
    tokenizer: Any = None,
) -> Metric:
    """Return a ROUGE F-measure, the same number as rouge-score 0.1.2 gives.

    Args:
        name: Which ROUGE. ``rougeLsum`` splits sentences at line breaks.
        stemmer: Whether to stem words with Porter's stemmer (English).
        tokenizer: ``"unicode"`` (words of any script), ``"characters"`` (for scripts
            without spaces), or an object with ``tokenize(text)``. The default knows
            only a to z and 0 to 9.

    Source: Lin 2004; rouge-score 0.1.2, computed by rouge-score-rs.
    """
    names = ("rouge1", "rouge2", "rougeL", "rougeLsum")
    if name not in names:
        raise MetricError(f"no {name!r} among: {', '.join(names)}")
    if isinstance(tokenizer, str) and tokenizer not in ("unicode", "characters"):
        raise MetricError(
            f"tokenizer={tokenizer!r} is neither 'unicode' nor 'characters'"
        )
    return Metric(
        name=name,
        score=_Rouge(name, stemmer, tokenizer),
        range=UNIT,
        needs_references=True,
        inline=tokenizer is None or isinstance(tokenizer, str),
        source="Lin 2004; rouge-score 0.1.2",
    )


class _Rouge:
    """Scores by one ROUGE; an object that can be sent to another process."""

    def __init__(self, name: str, stemmer: bool, tokenizer: Any) -> None:
        self._given = (name, stemmer, tokenizer)
        self._warned = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _Rouge, self._given

    @functools.cached_property
    def _scorer(self) -> Any:
        from rouge_score_rs import tokenizers
        from rouge_score_rs.rouge_scorer import RougeScorer

        name, stemmer, tokenizer = self._given
        by_name = {
            "unicode": tokenizers.UnicodeTokenizer,
            "characters": tokenizers.CharacterTokenizer,
        }
        chosen = by_name[tokenizer]() if isinstance(tokenizer, str) else tokenizer
        return RougeScorer([name], use_stemmer=stemmer, tokenizer=chosen)

    def __call__(self, prediction: Prediction, example: Example) -> float:
        name, _, tokenizer = self._given
        if tokenizer is None and not self._warned:
            self._warn_of_unseen(example)
        best = self._scorer.score_multi(example.references, prediction.text)[name]
        return float(best.fmeasure)

    def _warn_of_unseen(self, example: Example) -> None:
        unseen = next(filter(_unseen_by_rouge, example.references), None)
        if unseen is None:
            return
        self._warned, name = True, self._given[0]
        warnings.warn(
            f"{name} sees only the letters a to z and digits, so the reference "
            f"{unseen[:40]!r} of row {example.id!r} scores 0 whatever the prediction "
            f'is; use metrics=[rouge("{name}", tokenizer="unicode")] or '
            'tokenizer="characters"',
            stacklevel=3,
        )


def _unseen_by_rouge(text: str) -> bool:
    return bool(text.strip()) and re.search("[a-z0-9]", text.lower()) is None


def _macro(
    value: Callable[[int, int, int], float],
) -> Callable[[Sequence[Prediction], Sequence[Example]], float]:
    """Average over labels a value of (true positives, predicted, actual)."""

    def aggregate(
        predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> float:
        got = [label(prediction.text) for prediction in predictions]
        wanted = [label(example.references[0]) for example in examples]
        predicted, actual = Counter(got), Counter(wanted)
        right = Counter(g for g, w in zip(got, wanted, strict=True) if g == w)
        scores = [value(right[x], predicted[x], actual[x]) for x in sorted(actual)]
        return sum(scores) / len(scores)

    return aggregate


def _sacrebleu(
    function: str,
) -> Callable[[Sequence[Prediction], Sequence[Example]], float]:
    def aggregate(
        predictions: Sequence[Prediction], examples: Sequence[Example]
    ) -> float:
        corpus_score = getattr(optional("sacrebleu"), function)
        most = max(len(example.references) for example in examples)
        streams = [
            [e.references[i] if i < len(e.references) else None for e in examples]
            for i in range(most)
        ]
        return float(corpus_score([p.text for p in predictions], streams).score)

    return aggregate


def _of_rows(name: str, score: Callable[[str, str], float], source: str) -> Metric:
    return Metric(
        name=name,
        score=_best(score),
        range=UNIT,
        needs_references=True,
        inline=True,
        source=source,
    )


def _of_corpus(
    name: str,
    aggregate: Callable[[Sequence[Prediction], Sequence[Example]], float],
    highest: float,
    source: str,
) -> Metric:
    return Metric(
        name=name,
        aggregate=aggregate,
        range=(0.0, highest),
        needs_references=True,
        source=source,
    )


def built_in_metrics() -> dict[str, Metric]:
    """Return the built-in metrics by name."""
    metrics = [
        _of_rows("exact_match", _exact_match, SQUAD),
        _of_rows("token_f1", _token_f1, SQUAD),
        rouge("rouge1"),
        rouge("rouge2"),
        rouge("rougeL"),
        rouge("rougeLsum"),
        _of_rows("accuracy", _accuracy, LABELS.partition(";")[0]),
        _of_rows("contains", _contains, "a reference is in the prediction, any case"),
        _of_rows("regex_match", _matches_reference, "re.search(reference, prediction)"),
        _of_corpus(
            "f1_macro",
            _macro(lambda right, got, real: 2.0 * right / (got + real)),
            1.0,
            LABELS,
        ),
        _of_corpus(
            "precision",
            _macro(lambda right, got, real: right / got if got else 0.0),
            1.0,
            LABELS,
        ),
        _of_corpus(
            "recall", _macro(lambda right, got, real: right / real), 1.0, LABELS
        ),
        _of_corpus(
            "bleu",
            _sacrebleu("corpus_bleu"),
            100.0,
            "Papineni et al. 2002; sacrebleu corpus_bleu with its defaults, 0 to 100",
        ),
        _of_corpus(
            "chrf",
            _sacrebleu("corpus_chrf"),
            100.0,
            "Popović 2015; sacrebleu corpus_chrf with its defaults, 0 to 100",
        ),
        Metric(
            name="json_valid",
            score=_json_valid,
            range=UNIT,
            inline=True,
            source="strict RFC 8259",
        ),
        Metric(
            name="latency_ms",
            score=_latency_ms,
            higher_is_better=False,
            inline=True,
            source="milliseconds from request to whole reply",
        ),
        Metric(
            name="output_tokens",
            score=_output_tokens,
            higher_is_better=False,
            inline=True,
            source="as the model reports them",
        ),
    ]
    return {metric.name: metric for metric in metrics}


def find_metrics(
    wanted: Iterable[str | Metric | Callable[..., Any]],
    hook: pluggy.HookRelay,
    further: Iterable[Metric | Callable[..., Any]] = (),
) -> dict[str, Metric]:
    """Return the wanted metrics by name.

    Args:
        wanted: Names, `Metric` objects, callables ``f(prediction, example)``, or what
            `pytest_llmeval_metric` knows.
        hook: Where `pytest_llmeval_metrics` and `pytest_llmeval_metric` are asked.
        further: Metrics that the suite's ``llmeval_metrics`` fixture adds.

    Raises:
        MetricError: an unknown name, or one name for two metrics.
    """
    if isinstance(wanted, str):
        raise MetricError(f"metrics={wanted!r} is one name; write metrics=[{wanted!r}]")
    known = known_metrics(hook, further)
    chosen: dict[str, Metric] = {}
    for item in wanted:
        if isinstance(item, str):
            metric = _by_name(item, known)
        else:
            metric = _of_object(item, hook)
        if callable(item) and metric.name in known:
            raise MetricError(
                f"the function {metric.name!r} has the name of a known metric, which a "
                "gate could not tell apart; rename yours"
            )
        if metric.name in chosen:
            raise MetricError(f"metrics= holds {metric.name!r} twice")
        chosen[metric.name] = metric
    if not chosen:
        raise MetricError('metrics= is empty; give at least one, such as "exact_match"')
    return chosen


def known_metrics(
    hook: pluggy.HookRelay, further: Iterable[Metric | Callable[..., Any]] = ()
) -> dict[str, Metric]:
    """Return the metrics that have a name to call them by; see `find_metrics`.

    Raises:
        MetricError: one name for two metrics.
    """
    known = built_in_metrics()
    given = [item for items in hook.pytest_llmeval_metrics() for item in items or ()]
    for item in [*given, *further]:
        metric = _of_object(item, hook)
        if metric.name in known:
            raise MetricError(f"two metrics are named {metric.name!r}; rename yours")
        known[metric.name] = metric
    return known


def check_references(dataset: Dataset, metrics: Iterable[Metric]) -> None:
    """Refuse metrics that need references on a dataset where some rows have none.

    Raises:
        MetricError: names the metrics, and the first such rows.
    """
    needing = [metric.name for metric in metrics if metric.needs_references]
    rows, bare = len(dataset.ids), len(dataset.ids) - dataset.with_references
    if needing and bare:
        without = (example.id for example in dataset.examples if not example.references)
        raise MetricError(
            f"{', '.join(needing)} compare with references, and {bare} of "
            f"{rows} rows of {dataset.name} have none: {first_few(without)}; "
            'name their column with columns={"references": …}'
        )


def check_rows_only(metrics: Iterable[Metric]) -> None:
    """Refuse metrics over all rows together, where the rows are not at hand.

    Raises:
        MetricError: names them.
    """
    names = [metric.name for metric in metrics if metric.aggregate is not None]
    if names:
        raise MetricError(
            f"{', '.join(names)}: computed over all rows together, which lie in Spark; "
            'evaluate with engine="local", or by metrics that score rows'
        )


def _by_name(name: str, known: Mapping[str, Metric]) -> Metric:
    if name not in known:
        raise MetricError(
            f"no metric is named {name!r}{nearest(name, list(known))}\n"
            f"known metrics: {', '.join(sorted(known))}"
        )
    if name in PACKAGES:
        optional(PACKAGES[name])  # say what is missing before the first call
    return known[name]


def _of_object(item: Any, hook: pluggy.HookRelay) -> Metric:
    known: Metric | None = None
    if not isinstance(item, Metric):
        known = hook.pytest_llmeval_metric(item=item)
    return known or as_metric(item)


def as_metric(item: Metric | Callable[..., Any]) -> Metric:
    """Return a callable ``f(prediction: str, example: Example)`` as a metric.

    Its name is the function's; its score a number or a bool. A function annotated
    ``-> bool`` has the range 0 to 1; for any other range give a `Metric`, or
    ``bounds=`` where the gate is.
    """
    if isinstance(item, Metric):
        if item.score is None and item.aggregate is None:
            raise MetricError(f"metric {item.name!r} has neither score nor aggregate")
        return item if item.source else replace(item, source=_source(item))
    name = getattr(item, "__name__", type(item).__name__)
    if not callable(item) or not name.isidentifier():
        raise MetricError(
            f"{item!r:.100} is no metric: give a name, a Metric or a named function "
            "f(prediction: str, example: Example) -> float"
        )
    if inspect.iscoroutinefunction(item):
        raise MetricError(f"metric {name!r} is async; give a plain function")
    function = item
    returns = getattr(item, "__annotations__", {}).get("return")

    def score(prediction: Prediction, example: Example) -> Any:
        return function(prediction.text, example)

    return Metric(
        name=name,
        score=score,
        range=UNIT if returns in (bool, "bool") else None,
        source=_source_of(item, f"{getattr(item, '__module__', '?')}.{name}"),
    )


def _source(metric: Metric) -> str:
    """Return what a metric of the user's computes, where it does not say so itself."""
    function = metric.score or metric.aggregate
    return _source_of(function, getattr(function, "__qualname__", "?"))


def _source_of(function: object, name: str) -> str:
    digest = digest_code(function)
    return name if digest is None else f"{name} {digest[:19]}"
