"""The entry point of a job: what it takes for its suite, and what it gives away."""

import hashlib
import json
import os
import subprocess
import sys
import tarfile

import pytest

from .remote import packed


JOB = "import sys; from pytest_llmeval.job import main; main(sys.argv[1:])"
GREEN = "def test_green():\n    pass\n"
LEAVES = "import os, sys\n\nsys.exit(f\"no entry with {os.environ['MY_WORD']}\")\n"
FAILS = """\
import os

def test_red():
    print(os.environ["MY_WORD"])
    assert os.environ["MY_WORD"] == "other"
"""


@pytest.fixture
def job(tmp_path, workspace):
    """Runs a suite as a job, with a secret whose value has signs of XML in it."""
    workspace.around.secrets = {"qa": {"word": SECRET}}
    (tmp_path / "tmp").mkdir()

    def run(suite, *arguments, out="out"):
        done = subprocess.run(
            (
                *(sys.executable, "-c", JOB, "--suite", str(suite)),
                *("--out", str(tmp_path / out), "--secret", "MY_WORD=qa/word"),
                *("--", "evals", *arguments),
            ),
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stdout, done.stderr)
        return done

    return run


SECRET = "kept<secret>&\"0123456789'\\"


def folder(tmp_path, text, name="evals/test_it.py"):
    path = tmp_path / "suite" / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return tmp_path / "suite"


def archive(tmp_path, text, named_after=None):
    content = packed({"evals/test_it.py": text.encode()})
    digest = hashlib.sha256(content if named_after is None else named_after)
    path = tmp_path / f"suite-{digest.hexdigest()}.tar.gz"
    path.write_bytes(content)
    return path


def told(tmp_path, done):
    """Return all that is left and said, as JSON and XML say it or not."""
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    texts = [path.read_text(errors="replace") for path in files]
    return "\n".join([*texts, done.stdout, done.stderr])


def test_archive_that_was_sent_is_run_and_another_in_its_place_is_not(job, tmp_path):
    assert job(archive(tmp_path, GREEN)).returncode == 0
    done = job(archive(tmp_path, GREEN, named_after=b"other"), out="more")
    assert done.returncode == 1
    assert "is not what was sent: its name holds the digest of another" in done.stderr
    assert (
        json.loads((tmp_path / "more/result.json").read_text())["exit_status"] is None
    )


def test_secret_is_taken_out_of_why_a_suite_has_left(job, tmp_path):
    done = job(folder(tmp_path, LEAVES, "evals/conftest.py"))
    assert done.returncode == 1
    assert "SuiteLeft: " in done.stderr
    assert "[redacted]" in (tmp_path / "out/pytest.log").read_text()
    assert "0123456789" not in told(tmp_path, done)


def test_secret_is_taken_out_of_junit_as_xml_and_python_write_it(job, tmp_path):
    done = job(folder(tmp_path, FAILS), "-o", "junit_logging=all")
    assert done.returncode == 1
    junit = (tmp_path / "out/junit.xml").read_text()
    assert junit.count("[redacted]") > 2
    assert "0123456789" not in told(tmp_path, done)
    with tarfile.open(tmp_path / "out/results.tar.gz") as results:
        files = filter(None, map(results.extractfile, results))
        assert not [file for file in files if b"0123456789" in file.read()]


def test_job_leaves_no_folder_where_it_cannot_write(job, tmp_path):
    (tmp_path / "out").write_text("a file")
    done = job(folder(tmp_path, GREEN))
    assert "cannot write to" in done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []
