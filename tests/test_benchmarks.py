"""The benchmarks are honest: all that they compare does the same work."""

import pytest

from benchmarks.workload import Run
from benchmarks.workload import Usage
from benchmarks.workload import check_means
from benchmarks.workload import contend
from benchmarks.workload import write_suite


ROWS = 50
LATENCY_MS = 300  # so long that the last slot sends before the first has a reply
# Of 10 answers, 7 hold the 8 words of the reference and a "the" before them, which
# exact match ignores and ROUGE does not; the others hold 6, 4 and 2 of these words.
MEANS = {"exact_match": 7 / 10, "rouge1": 2 * (7 * 8 + 6 + 4 + 2) / (8 + 9) / 10}


@pytest.mark.parametrize("contender", ["ours", "floor_aiohttp", "floor_openai"])
def test_contender_asks_every_row_once_and_computes_these_means(contender, tmp_path):
    run = contend(contender, write_suite(tmp_path, ROWS), LATENCY_MS)
    assert run.means == pytest.approx(MEANS)
    assert run.stats["requests"] == ROWS
    assert run.stats["most_in_flight"] == 32


def test_benchmark_stops_when_two_contenders_computed_different_means():
    usage = Usage(cpu_s=1, wall_s=1, max_rss_mb=1, output="")
    same = Run(usage, MEANS, {})
    check_means([same, same])
    with pytest.raises(SystemExit, match="means differ"):
        check_means([same, Run(usage, {**MEANS, "rouge1": 0.79}, {})])
