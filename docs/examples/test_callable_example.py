"""A function as the model, rows in a list, and a metric of one's own."""

from pytest_llmeval import assert_metric


CAPITALS = {"France": "Paris", "Italy": "Rome", "Japan": "Tokyo"}
ROWS = [
    {"id": country.lower(), "question": f"Capital of {country}?", "answer": city}
    for country, city in CAPITALS.items()
]


def answer(prompt):
    country = prompt.removeprefix("Capital of ").removesuffix("?")
    return f"{CAPITALS[country]}."


def one_word(prediction, example) -> bool:
    return len(prediction.split()) == 1


def test_names_capitals(evaluate):
    results = evaluate(model=answer, data=ROWS, metrics=["exact_match", one_word])
    assert_metric(results, "exact_match", ">=", 1.0, confidence="point")
    assert_metric(results, "one_word", ">=", 0.3, confidence=0.95)
