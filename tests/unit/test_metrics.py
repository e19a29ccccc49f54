import random
import types
import warnings

import cloudpickle
import pytest
import rouge_score.rouge_scorer
import sacrebleu
import sklearn.metrics

from pytest_llmeval import Example
from pytest_llmeval import regex_match
from pytest_llmeval import rouge
from pytest_llmeval.errors import MetricError
from pytest_llmeval.metrics import built_in_metrics
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Reply


ROUGES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def reply(text, **rest):
    return Prediction(reply=Reply(text=text, **rest))


def example(*references):
    return Example(id="r1", input="q", references=references)


def score(metric, got, *references):
    metric = built_in_metrics()[metric] if isinstance(metric, str) else metric
    return metric.score(reply(got), example(*references))


@pytest.mark.parametrize(
    ("got", "wanted", "exact", "f1"),
    [
        ("The Cat!", "cat", 1, 1),
        ("", "", 1, 1),
        ("the", "a.", 1, 1),
        ("", "cat", 0, 0),
        ("cat", "", 0, 0),
        ("x", "y", 0, 0),
        # 2 common words of 3 and 4: 2 * 2 / 7
        ("red big cat", "small red old cat", 0, 4 / 7),
        # a word counts as often as it is in both: 2 * 1 / 5
        ("cat cat cat", "cat dog", 0, 2 / 5),
        ("U.S.A", "usa", 1, 1),
        ("anthem theatre", "them atre", 0, 0),
        (" two\n words ", "two words", 1, 1),
    ],
)
def test_exact_match_and_token_f1_are_squads(got, wanted, exact, f1):
    assert score("exact_match", got, wanted) == exact
    assert score("token_f1", got, wanted) == pytest.approx(f1, abs=1e-15)


@pytest.mark.parametrize("name", ["exact_match", "token_f1", "accuracy", "contains"])
def test_the_best_reference_counts(name):
    assert score(name, "cat", "dog", "cat", "bird") == 1
    assert score(name, "cow", "dog", "cat", "bird") == 0


WORDS = ["the", "cats", "cat", "running", "run", "runs", "happily", "nations"]
WORDS += ["A.", "b,", "c!", "é", "3.5", "don't", "2"]


def pairs():
    rng = random.Random(7)
    for _ in range(150):
        texts = [
            rng.choice(["\n", " "]).join(rng.choices(WORDS, k=rng.randrange(30)))
            for _ in range(rng.randrange(2, 5))
        ]
        yield texts[0], texts[1:]
    yield from [
        ("", [""]),
        ("a", [""]),
        ("!!! ...", ["a"]),
        ("A b\nc d.\n\ne", ["c d\nA b", "e f. g"]),
        ("one. two. three.", ["three. one."]),
        ("ﬁne ſ K İ", ["fine s k i"]),
        ("a_b a-b 1,000", ["a b 1 000"]),
        ("generalization generalize", ["general generally"]),
    ]


@pytest.mark.parametrize("stemmer", [False, True])
@pytest.mark.parametrize("name", ROUGES)
def test_rouge_equals_the_reference_implementation(name, stemmer):
    reference = rouge_score.rouge_scorer.RougeScorer([name], use_stemmer=stemmer)
    metric = rouge(name, stemmer=stemmer)
    scores = []

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for got, wanted in pairs():
            expected = max(reference.score(w, got)[name].fmeasure for w in wanted)
            scores.append(score(metric, got, *wanted))
            assert scores[-1] == expected, (got, wanted)

    assert len({*scores}) > 50


def test_rouge_warns_once_when_it_cannot_see_a_reference():
    metric = rouge("rougeL")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert score(metric, "猫が好き", "猫が好き") == 0
        assert score(metric, "犬", "犬") == 0

    assert len(caught) == 1
    message = str(caught[0].message)
    assert message.startswith("rougeL sees only the letters a to z and digits")
    assert "the reference '猫が好き' of row 'r1' scores 0" in message
    assert 'metrics=[rouge("rougeL", tokenizer="unicode")]' in message
    assert 'tokenizer="characters"' in message


@pytest.mark.parametrize("tokenizer", ["unicode", "characters"])
@pytest.mark.parametrize("text", ["猫が好き です", "Привет мир", "שלום עולם"])
def test_rouge_sees_other_scripts_with_another_tokenizer(tokenizer, text):
    metric = rouge("rouge1", tokenizer=tokenizer)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert score(metric, text, text) == 1
        assert score(metric, "xyz", text) == 0


def test_rouge_takes_a_tokenizer_of_ones_own():
    commas = types.SimpleNamespace(tokenize=lambda text: text.split(","))

    # 1 of 2 parts is common
    assert score(rouge("rouge1", tokenizer=commas), "a b,c", "a b,d") == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "rouge3"}, "no 'rouge3' among: rouge1, rouge2, rougeL, rougeLsum"),
        (
            {"name": "rouge1", "tokenizer": "cjk"},
            "tokenizer='cjk' is neither 'unicode' nor 'characters'",
        ),
    ],
)
def test_rouge_refuses_what_it_does_not_know(arguments, message):
    with pytest.raises(MetricError, match=message):
        rouge(**arguments)


LABELS = [
    ("cat", "cat"),
    (" Cat. ", "cat"),
    ("dog", "cat"),
    ("dog", "dog"),
    ("other", "dog"),
    ("", "bird"),
    ("cat", "Bird!"),
]


def test_accuracy_f1_precision_and_recall_equal_scikit_learns():
    got = [text.casefold().strip(" .!") for text, _ in LABELS]
    wanted = [text.casefold().strip(" .!") for _, text in LABELS]
    options = {
        "labels": sorted(set(wanted)),
        "average": "macro",
        "zero_division": 0,
    }
    metrics = built_in_metrics()
    arguments = [reply(g) for g, _ in LABELS], [example(w) for _, w in LABELS]
    accuracy = [score("accuracy", *pair) for pair in LABELS]

    assert sum(accuracy) / 7 == sklearn.metrics.accuracy_score(wanted, got)
    for name, function in [
        ("f1_macro", sklearn.metrics.f1_score),
        ("precision", sklearn.metrics.precision_score),
        ("recall", sklearn.metrics.recall_score),
    ]:
        expected = function(wanted, got, **options)
        assert metrics[name].aggregate(*arguments) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "function"),
    [("bleu", sacrebleu.corpus_bleu), ("chrf", sacrebleu.corpus_chrf)],
)
def test_bleu_and_chrf_equal_sacrebleus(name, function):
    got = ["the cat sat on the mat", "a dog barked loudly at me", "no idea of that"]
    wanted = [
        ("the cat sat on a mat", "a cat was on the mat"),
        ("the dog barked loudly at me",),
        ("I have no idea of that", "none", "no idea of it at all"),
    ]
    # Sentences with fewer references repeat one: that changes neither score.
    streams = [[(w + w[:1] * 2)[i] for w in wanted] for i in range(3)]
    metric = built_in_metrics()[name]

    value = metric.aggregate(list(map(reply, got)), [example(*w) for w in wanted])

    assert 20 < value < 100
    assert value == pytest.approx(function(got, streams).score, abs=1e-9)


@pytest.mark.parametrize(
    ("metric", "got", "reference", "expected"),
    [
        ("contains", "The answer is STRASSE.", "straße", 1),
        ("contains", "cat", "cats", 0),
        ("regex_match", "total: 42 kg", r"\d+ kg$", 1),
        ("regex_match", "total: 42", r"^\d", 0),
        (regex_match(r"^\d+$"), "42", "", 1),
        (regex_match(r"^\d+$"), "a42", "", 0),
        ("json_valid", '{"a": [1, null]}', "", 1),
        ("json_valid", "3", "", 1),
        ("json_valid", "", "", 0),
        ("json_valid", '{"a": NaN}', "", 0),
        ("json_valid", "-Infinity", "", 0),
        ("json_valid", "{'a': 1}", "", 0),
        ("json_valid", '```json\n{"a": 1}\n```', "", 0),
        ("json_valid", "[" * 100_000, "", 0),
        ("json_valid", "1" * 5_000, "", 1),
    ],
)
def test_text_checks(metric, got, reference, expected):
    assert score(metric, got, reference) == expected


def test_latency_and_output_tokens_are_read_from_the_prediction():
    metrics = built_in_metrics()
    prediction = Prediction(reply=Reply(text="", output_tokens=7), latency_ms=12.5)

    assert metrics["latency_ms"].score(prediction, example()) == 12.5
    assert metrics["output_tokens"].score(prediction, example()) == 7
    with pytest.raises(MetricError, match="the row has no latency"):
        metrics["latency_ms"].score(reply(""), example())
    with pytest.raises(MetricError, match="does not report output tokens"):
        metrics["output_tokens"].score(reply(""), example())


@pytest.mark.parametrize("name", sorted(built_in_metrics()))
def test_a_metric_can_be_sent_to_another_process(name):
    metric = built_in_metrics()[name]
    sent = cloudpickle.loads(cloudpickle.dumps(metric))
    got = reply("the cat sat", output_tokens=3)
    if metric.score is None:
        rows = [got], [example("a cat sat")]
        assert sent.aggregate(*rows) == metric.aggregate(*rows)
    elif name != "latency_ms":
        wanted = metric.score(got, example("a cat sat"))
        assert sent.score(got, example("a cat sat")) == wanted
        used = cloudpickle.loads(cloudpickle.dumps(metric))  # after its first use
        assert used.score(got, example("a cat sat")) == wanted
