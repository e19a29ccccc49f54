"""Gates of every kind, on the evaluations of an engine."""

from functools import partial

from pytest_llmeval import decide
from pytest_llmeval import decide_improved
from pytest_llmeval import decide_no_regression
from pytest_llmeval import decide_quantile

from . import suites


def gate(name, *arguments, **options):
    return lambda engine: decide(engine[name], *arguments, **options)


def quantile(name, *arguments, **options):
    return lambda engine: decide_quantile(engine[name], *arguments, **options)


def regression(engine, max_drop, metric):
    return decide_no_regression(
        engine["after"], engine["before"], metric, max_drop=max_drop
    )


def improvement(engine, min_gain, metric):
    return decide_improved(engine["after"], engine["before"], metric, min_gain=min_gain)


SURE = {"confidence": 0.95}
POINT = {"confidence": "point"}
WORST = {**SURE, "on_error": "worst"}
LEFT_OUT = {**SURE, "on_error": "exclude"}
GATES = {
    "passes": gate("before", "unit", ">=", 0.3, **SURE),
    "fails": gate("before", "unit", ">=", 0.9, **SURE),
    "is open": gate("before", "unit", ">=", 0.5, **SURE),
    "has a negative range": gate("before", "cost", "<=", -1, **SURE),
    "has bounds": gate("hostile", "letters", "<", 9, bounds=(0, 20), **WORST),
    "is out of bounds": gate("before", "cost", ">", 0, bounds=(0, 1), **SURE),
    "has no bounds": gate("before", "right", ">=", 0.1, **SURE),
    "is a point": gate("before", "unit", ">", 0.4, **POINT),
    "is a lucky point": gate("before", "unit", ">", 0.48, **POINT),
    "is equal": gate("before", "right", "==", 1, **POINT),
    "is unequal": gate("before", "right", "!=", 1, **POINT),
    "has where": gate(
        "before", "unit", ">=", 0.9, where={"topic": "größe, “neu”"}, **SURE
    ),
    "has where on a line break": gate(
        "before", "unit", ">=", 0.1, where={"topic": "a\nb"}, **SURE
    ),
    "has where on two": gate(
        "before", "unit", ">", 0.9, where={"topic": "billing", "person": "p1"}, **SURE
    ),
    "has where on nothing": gate(
        "before", "unit", ">=", 0, where={"topic": "no"}, **SURE
    ),
    "has clusters": gate("before", "unit", ">=", 0.6, cluster="person", **SURE),
    "has few rows": gate("before", "unit", ">=", 0.6, min_rows=1000, **SURE),
    "has errors": gate("hostile", "small", ">=", 0.2, **SURE),
    "counts errors as worst": gate("hostile", "small", ">=", 0.4, **WORST),
    "counts errors as highest": gate("hostile", "cost", "<=", 0, **WORST),
    "leaves errors out": gate(
        "hostile", "small", ">=", 0.4, max_error_rate=0.3, **LEFT_OUT
    ),
    "leaves few errors out": gate(
        "hostile", "small", ">=", 0.4, max_error_rate=0.01, **LEFT_OUT
    ),
    "leaves errors of clusters out": gate(
        *("hostile", "small", ">=", 0.9),
        **{"cluster": "input", "max_error_rate": 0.3, **LEFT_OUT},
    ),
    "has where on a number": gate(
        "hostile", "small", ">=", 0.9, where={"price": 1}, **WORST
    ),
    "has where on a truth": gate(
        "hostile", "small", ">=", 0.9, where={"flag": True}, **WORST
    ),
    "has where on a list": gate(
        "hostile", "small", ">=", 0.9, where={"reference": [1.5, 2, "ß"]}, **WORST
    ),
    "has where on a lone surrogate": gate(
        "hostile", "small", ">=", 0.9, where={"input": suites.TEXTS[5]}, **WORST
    ),
    "has repeats": gate("repeats", "cost", "<=", 0, **WORST),
    "passes at 2": gate("repeats", "right/pass@2", ">=", 0.5, **WORST),
    "passes all of 2": gate("repeats", "right/pass^2", ">=", 0.5, **WORST),
    "passes at 2 without errors": gate(
        "repeats", "right/pass@2", ">=", 0.9, max_error_rate=0.5, **LEFT_OUT
    ),
    "passes at 2 of no truths": gate("repeats", "cost/pass@2", ">=", 0.5, **WORST),
    "has clusters of repeats": gate(
        "repeats", "right/pass@2", ">=", 0.9, cluster="topic", **WORST
    ),
    "has a median": quantile("before", "unit", 0.5, ">=", 0.3, **SURE),
    "has a failing median": quantile("before", "unit", 0.5, ">=", 0.5, **SURE),
    "has a quantile": quantile("before", "cost", 0.9, "<=", 4.5, **SURE),
    "has a quantile between ties": quantile("before", "unit", 0.25, ">", 0.2, **SURE),
    "has a point quantile": quantile("before", "cost", 0.1, "<", -4.5, **POINT),
    "keeps": partial(regression, max_drop=0.1, metric="unit"),
    "keeps little": partial(regression, max_drop=0.0, metric="cost"),
    "keeps what is without bounds": partial(regression, max_drop=0.1, metric="right"),
    "improves": partial(improvement, min_gain=0.0, metric="unit"),
    "improves much": partial(improvement, min_gain=0.5, metric="unit"),
}
