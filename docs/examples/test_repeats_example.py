"""Each question asked three times, and a gate on all three answers being right."""

from pytest_llmeval import assert_metric


CITIES = ("Paris", "Rome", "Tokyo", "Oslo", "Lima", "Cairo")
ROWS = [{"question": f"{city} in capitals?", "answer": city} for city in CITIES]


def shout(prompt):
    return prompt.partition(" ")[0].upper()


def test_is_right_each_time(evaluate):
    results = evaluate(model=shout, data=ROWS, metrics=["exact_match"], repeats=3)
    assert_metric(results, "exact_match", ">=", 0.6, confidence=0.95)
    assert_metric(results, "exact_match/pass^3", ">=", 0.6, confidence=0.95)
