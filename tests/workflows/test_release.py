"""The notes of a release come from the change log, or there is no release."""

import shutil
import subprocess

import pytest

from .documents import ROOT


CHANGES = """\
# Change log

## 1.10.0 (2027-01-02)

### Added

- Much.

## 1.1.0 (2026-12-01)

- Little.
"""


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/notes", tmp_path / ".ci")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.10.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGES)
    (tmp_path / "changelog.d").mkdir()
    (tmp_path / "changelog.d/README.md").touch()
    return tmp_path


def notes(checkout, version="1.10.0"):
    command = (checkout / ".ci/notes", version)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_notes_are_the_section_of_that_version(checkout):
    assert notes(checkout) == (0, "\n### Added\n\n- Much.\n", "")


def test_tag_of_another_version_is_refused(checkout):
    status, printed, said = notes(checkout, "1.1.0")
    assert (status, printed) == (1, "")
    assert "pyproject.toml does not have the version 1.1.0" in said


def test_fragment_that_is_left_is_refused(checkout):
    (checkout / "changelog.d/+more.added.md").touch()
    status, printed, said = notes(checkout)
    assert (status, printed) == (1, "")
    assert "changelog.d/+more.added.md" in said


def test_version_without_a_section_is_refused(checkout):
    (checkout / "CHANGELOG.md").write_text(CHANGES.replace("## 1.10.0", "## 1.10.0rc1"))
    status, _, said = notes(checkout)
    assert status == 1
    assert 'nothing under "## 1.10.0 ("' in said
