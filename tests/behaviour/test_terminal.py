"""What a run shows and leaves: lines, junit properties, files; and silence unused."""

import json
import re
import xml.etree.ElementTree as ET

import pytest


HOSTILE = "\x1b[31m\u202e\x00]]></x>\ud83d ::error::" + "y" * 5_000


def test_gate_line_is_aligned_under_its_heading(suite):
    source = (suite.path / "evals/test_qa.py").read_text()
    more = source.replace("def test_quality", "def test_b").replace("0.9)", "0.25)")
    suite.write("evals/test_b.py", more)
    lines = suite.run().outlines
    start = next(i for i, line in enumerate(lines) if "llmeval gates" in line)
    heading, first, second = lines[start + 1 : start + 4]
    for word, cell in (
        ("value", "1.000"),
        ("bar", "0."),
        ("n ", "40"),
        ("dec", "pass"),
    ):
        column = heading.index(word)
        assert first[column:].startswith(cell)
        assert second[column:].startswith(cell)
    assert "0.928 to 1.000 at 95 %" in first


def test_closing_lines_name_the_files_and_how_to_repeat(suite):
    result = suite.run()
    result.stdout.fnmatch_lines(
        [
            "verdict: pass",
            "verdict file: .llmeval/runs/*/verdict.json",
            "rows: .llmeval*",
        ]
    )
    (suite.path / "evals/test_z.py").write_text("def test_z():\n    assert False\n")
    last = [line for line in suite.run("evals", "-q").outlines if line][-1]
    assert re.fullmatch(
        r"see \.llmeval/runs/.*/verdict\.json; repeat with: pytest evals -q", last
    )


def test_failure_shows_the_bound_and_the_worst_rows(suite):
    rows = [{"id": f"r{i}", "input": "q", "answer": "A"} for i in range(20)]
    suite.write_rows("evals/data.jsonl", rows)
    result = suite.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            # 0 of 20: the upper bound is 1 - 0.05 ** (1 / 20) = 0.139.
            "*exact_match 0.000 (95 % upper bound 0.139, n=20) is below 0.900*",
            "*worst rows:*",
            "*r0  score 0.000*",
            "*input:    q*",
            "*expected: A*",
            "*got:      Q*",
        ]
    )
    assert "session.py" not in result.stdout.str(), "our own frames stay hidden"


def test_inconclusive_says_how_many_rows_would_decide(suite):
    suite.write_rows(
        "evals/data.jsonl",
        [{"id": f"r{i}", "input": f"w{i}", "answer": f"W{i}"} for i in range(20)],
    )
    result = suite.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["*lower bound 0.861*is inconclusive against >= 0.900; about 29 rows*pass*"]
    )
    assert suite.verdict["reason"] == "INCONCLUSIVE"


def test_point_gate_says_what_a_confidence_would_have_said(suite):
    ini = (suite.path / "pytest.ini").read_text()
    suite.write("pytest.ini", ini.replace("llmeval_confidence = 0.95\n", ""))
    source = (suite.path / "evals/test_qa.py").read_text()
    suite.write("evals/test_qa.py", source.replace("0.9)", "0.99)"))
    result = suite.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["*pass (point only: at 95 % this would be inconclusive)"]
    )


def test_junit_carries_the_gates_as_properties(suite):
    suite.run("evals", "--junitxml", "out.xml")
    case = ET.parse(suite.path / "out.xml").getroot().find(".//testcase")
    found = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert found["llmeval.exact_match.value"] == "1.0"
    assert float(found["llmeval.exact_match.lower"]) == pytest.approx(0.05 ** (1 / 40))
    assert found["llmeval.exact_match.n"] == "40"
    assert found["llmeval.exact_match.errors"] == "0"
    assert found["llmeval.exact_match.threshold"] == "0.9"
    assert found["llmeval.exact_match.decision"] == "pass"
    assert found["llmeval.run_id"] == suite.verdict["run_id"]


def test_hostile_replies_reach_no_report_unescaped(suite):
    suite.write(
        "evals/conftest.py",
        "import json, pytest\n"
        "@pytest.fixture\n"
        "def llmeval_model():\n"
        f"    return lambda prompt: json.loads({json.dumps(json.dumps(HOSTILE))})\n",
    )
    result = suite.run("evals", "--junitxml", "out.xml")
    assert result.ret == 1
    text = result.stdout.str() + (suite.path / "out.xml").read_text(encoding="utf-8")
    assert not set("\x1b\u202e\x00\ud83d") & set(text)
    ET.parse(suite.path / "out.xml")
    assert suite.rows[0]["prediction"] == HOSTILE, "the row file has the whole text"
    assert len(max(result.outlines, key=len)) < 1_000


def test_secrets_reach_no_file_and_no_line(suite, monkeypatch):
    monkeypatch.setenv("MY_API_TOKEN", "canary-7f3a9b")
    suite.write(
        "evals/conftest.py",
        "import os, pytest\n"
        "@pytest.fixture\n"
        "def llmeval_model():\n"
        "    def model(example):\n"
        "        if example.id == 'r3':\n"
        "            raise RuntimeError(os.environ['MY_API_TOKEN'])\n"
        "        return os.environ['MY_API_TOKEN']\n"
        "    return model\n",
    )
    result = suite.run("evals", "--junitxml", "out.xml", "--tb=no")
    assert "canary" not in result.stdout.str() + result.stderr.str()
    for path in suite.path.rglob("*"):
        if path.is_file():
            assert b"canary-7f3a9b" not in path.read_bytes(), path


def test_workers_show_the_lines_of_a_single_process(suite):
    def shown(*options):
        result = suite.run("evals", "--llmeval-cache", "off", *options)
        lines = [re.sub(r"\d+-\d+-\w+", "RUN", line) for line in result.outlines]
        start = next(i for i, line in enumerate(lines) if "llmeval gates" in line)
        return [line for line in lines[start + 1 :] if not line.startswith("=")]

    source = (suite.path / "evals/test_qa.py").read_text()
    suite.write("evals/test_b.py", source.replace("def test_quality", "def test_b"))
    alone = shown()
    assert alone[-4:] == [
        "verdict: pass",
        "manifest: none, so nothing can be deployed; write one with: llmeval gates "
        "update",
        "verdict file: .llmeval/runs/RUN/verdict.json",
        "rows: .llmeval/runs/RUN/results.jsonl",
    ]
    assert shown("-n", "2") == alone


def test_conftest_hook_and_fixture_give_metrics(suite):
    suite.write(
        "evals/conftest.py",
        (suite.path / "evals/conftest.py").read_text()
        + "\n\ndef shouted(prediction, example) -> bool:\n"
        "    return prediction.isupper()\n\n\n"
        "def pytest_llmeval_metrics():\n    return [shouted]\n\n\n"
        "@pytest.fixture\n"
        "def llmeval_metrics():\n"
        "    def short(prediction, example) -> bool:\n"
        "        return len(prediction) < 10\n"
        "    return [short]\n",
    )
    source = (suite.path / "evals/test_qa.py").read_text()
    suite.write(
        "evals/test_qa.py",
        source.replace('["exact_match"]', '["exact_match", "shouted", "short"]')
        + '    assert_metric(results, "shouted", ">=", 0.9)\n'
        '    assert_metric(results, "short", ">=", 0.9)\n',
    )
    assert suite.run().ret == 0
    assert [g["metric"] for g in suite.verdict["gates"]][1:] == ["shouted", "short"]


PROBE = """\
import json
import os
import sys
import threading


def test_probe():
    heavy = ("numpy", "pandas", "mlflow", "scipy", "pyspark", "aiohttp")
    state = {
        "modules": sorted(sys.modules),
        "heavy": [name for name in heavy if name in sys.modules],
        "threads": threading.active_count(),
        "sockets": sum(
            os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
            for fd in os.listdir("/proc/self/fd")
            if os.path.islink(f"/proc/self/fd/{fd}")
        ),
    }
    with open(os.environ["OUT"], "w") as f:
        json.dump(state, f)
"""


def test_unused_plugin_loads_little_and_leaves_nothing(pytester, monkeypatch):
    pytester.makepyfile(PROBE)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    before = sorted(path.name for path in pytester.path.iterdir())
    outputs, states = [], []
    for options in ((), ("-p", "pytest_llmeval.pytest_plugin")):
        out = pytester.path.parent / f"state-{len(options)}.json"
        monkeypatch.setenv("OUT", str(out))
        result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)
        assert result.ret == 0
        shown = [re.sub(r"[\d.]+s|runpytest-\d", "", line) for line in result.outlines]
        outputs.append([line for line in shown if not line.startswith("plugins:")])
        states.append(json.loads(out.read_text()))
    plain, loaded = states
    assert len(set(loaded["modules"]) - set(plain["modules"])) <= 15
    assert loaded["heavy"] == []
    assert loaded["threads"] == plain["threads"]
    assert loaded["sockets"] == plain["sockets"]
    assert outputs[0] == outputs[1]
    after = sorted(path.name for path in pytester.path.iterdir())
    own = ("runpytest", "__pycache__", "stdout", "stderr")  # of pytester and Python
    assert [name for name in after if not name.startswith(own)] == before
