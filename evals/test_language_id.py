"""Classification: is a short message English or Spanish?

The task was chosen after measuring eight: it is the one that the model does well. The
bar was set in November 2026 below its lower bound (accuracy 0.909, at least 0.828 at
95 % confidence); a constant answer has 0.5, and a prompt with one worked example 0.545.
"""

from pytest_llmeval import assert_metric


WORKED = [
    {"role": "user", "content": "El tren sale a las seis."},
    {"role": "assistant", "content": "Spanish"},
    {"role": "user", "content": "No tengo hambre."},
    {"role": "assistant", "content": "Spanish"},
    {"role": "user", "content": "We are out of milk."},
    {"role": "assistant", "content": "English"},
]
REQUEST = {
    "data": "data/language_id.jsonl",
    "metrics": ["accuracy", "f1_macro"],
    "columns": {"input": "text", "references": "label"},
    "prompt": [*WORKED, {"role": "user", "content": "{text}"}],
    "params": {
        "system": "Which language is the text written in, English or Spanish?",
        "max_tokens": 2,
    },
}


def gate(results):
    assert_metric(results, "accuracy", ">=", 0.75)


def test_tells_english_from_spanish(evaluate):
    gate(evaluate(**REQUEST))
