"""How fast each metric scores, against the `rouge-score` package in the same process.

Pairs of prediction and reference per CPU second. The ratio is to the `rouge-score`
metric of the same name, or to its rouge1 where it has none.
"""

import statistics
import time
from collections.abc import Callable
from collections.abc import Sequence
from functools import partial

from rouge_score.rouge_scorer import RougeScorer

from benchmarks.workload import QUICK_ROUNDS
from benchmarks.workload import ROUNDS
from benchmarks.workload import Figure
from benchmarks.workload import answer
from benchmarks.workload import interleave
from benchmarks.workload import parser
from benchmarks.workload import print_table
from benchmarks.workload import reference
from pytest_llmeval import Example
from pytest_llmeval import Metric
from pytest_llmeval import Prediction
from pytest_llmeval.metrics import built_in_metrics
from pytest_llmeval.records import Reply


ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")

Pair = tuple[Prediction, Example]


def pair(number: int) -> Pair:
    prediction = Prediction(
        reply=Reply(text=answer(number), output_tokens=8), latency_ms=20.0
    )
    wanted = (reference(number),)
    return prediction, Example(id=f"q{number}", input="", references=wanted)


def score_all(metric: Metric, pairs: Sequence[Pair]) -> None:
    if metric.score is None:
        metric.aggregate(*zip(*pairs, strict=True))
    else:
        for prediction, example in pairs:
            metric.score(prediction, example)


def score_reference(scorer: RougeScorer, pairs: Sequence[Pair]) -> None:
    for prediction, example in pairs:
        scorer.score(example.references[0], prediction.text)


def cpu_s(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    options = parser(__doc__).parse_args()
    pairs = [pair(number) for number in range(200 if options.quick else 5_000)]
    works = {
        name: partial(score_all, m, pairs) for name, m in built_in_metrics().items()
    }
    for name in ROUGE:
        work = partial(score_reference, RougeScorer([name]), pairs)
        works[f"rouge-score {name}"] = work
    for work in works.values():
        work()  # imports what it needs
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    times = interleave(
        rounds, {name: partial(cpu_s, work) for name, work in works.items()}
    )
    speeds = {name: len(pairs) / statistics.median(t) for name, t in times.items()}
    print_table("metrics", figures(speeds))


def figures(speeds: dict[str, float]) -> list[Figure]:
    return [
        Figure(
            name=name,
            value=speed,
            unit="pairs per CPU s",
            ratio=speed
            / speeds.get(f"rouge-score {name}", speeds["rouge-score rouge1"]),
        )
        for name, speed in speeds.items()
    ]


if __name__ == "__main__":
    main()
