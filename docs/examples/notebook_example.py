"""Evaluate and decide without pytest, as in a notebook."""

from pytest_llmeval import decide
from pytest_llmeval import evaluate


rows = [{"question": f"{n} times 2?", "answer": str(2 * n)} for n in range(29)]


def double(prompt):
    return str(2 * int(prompt.split()[0]))


results = evaluate(double, rows, ["exact_match"])
decision = decide(results, "exact_match", ">=", 0.9, confidence=0.95)
table = results.to_pandas()

print(results)  # noqa: T201
print(decision.status, round(decision.lower, 3), len(table))  # noqa: T201
