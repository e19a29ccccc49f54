import subprocess
import sys


PROBE = """\
import sys
from pytest_llmeval import drift
from pytest_llmeval import stats
loaded = [{"numpy", "scipy", "pandas", "pytest"} & set(sys.modules)]
stats.lower_bound([0.5, 1], 0.95, 0, 1)
stats.upper_bound([0.5, 1], 0.95, 0, 1)
stats.BettingTest(0.5, 0.95, 0, 1).add([0.5, 1])
stats.pass_at_k(1, 5, 2)
stats.adjust_p_values([0.1, 0.2])
loaded.append({"scipy", "pandas", "pytest"} & set(sys.modules))
print(loaded)
"""


def test_gates_load_numpy_only_and_only_when_they_decide():
    done = subprocess.run(
        (sys.executable, "-c", PROBE), capture_output=True, text=True, check=True
    )

    assert done.stdout == "[set(), set()]\n"
