"""A virtual environment of its own for other plugins: here they would change ours."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.behaviour.conftest import Suite
from tests.behaviour.conftest import as_on_a_laptop


PACKAGES = (
    "pytest-asyncio~=1.5",
    "pytest-cov~=7.1",
    "pytest-html~=4.2",
    "pytest-metadata~=3.1",  # of pytest-html
    "pytest-randomly~=5.1",
    "pytest-timeout~=2.4",
)


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment with the plugins and all that is here."""
    folder = tmp_path_factory.mktemp("plugins")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install")
    options = ("--no-deps", "--quiet", "--disable-pip-version-check")
    subprocess.run((*pip, *options, *PACKAGES), check=True, capture_output=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    outer = sysconfig.get_path("purelib")
    # Not the path alone: an editable install is a .pth file there.
    (site / "outer.pth").write_text(f"import site; site.addsitedir({outer!r})\n")
    return python


@pytest.fixture
def suite(tmp_path: Path, python: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """Give a suite whose pytest loads the plugins that the command line names."""
    as_on_a_laptop(monkeypatch)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return Suite(tmp_path, python=str(python))
