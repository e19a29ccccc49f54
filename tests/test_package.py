"""What is shipped: public names, wheel, contracts, style, types."""

import email
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import pytest_llmeval


ROOT = Path(__file__).parent.parent
PUBLIC = [
    "CallableModel",
    "DatasetRef",
    "DeploymentRefused",
    "EvalResults",
    "Example",
    "Gate",
    "LLMEvalError",
    "Metric",
    "Plan",
    "Prediction",
    "Settings",
    "State",
    "assert_each_slice",
    "assert_improved",
    "assert_metric",
    "assert_no_regression",
    "assert_quantile",
    "decide",
    "decide_each_slice",
    "decide_improved",
    "decide_no_regression",
    "decide_quantile",
    "evaluate",
    "hookimpl",
    "regex_match",
    "rouge",
]


def test_public_names_are_these_and_resolve():
    assert pytest_llmeval.__all__ == PUBLIC
    assert dir(pytest_llmeval) == PUBLIC
    for name in PUBLIC:
        assert getattr(pytest_llmeval, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        pytest_llmeval.nosuch  # noqa: B018  # the access is the test


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "ruff", "format", "--check", "."),
        ("-m", "ruff", "check", "."),
        ("-c", "from importlinter.cli import lint_imports_command as m; m()"),
        ("-m", "mypy"),
    ],
    ids=["format", "lint", "contracts", "types"],
)
def test_house_rules_hold(command):
    done = subprocess.run(
        (sys.executable, *command),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_docstring_in_every_module():
    for path in (ROOT / "pytest_llmeval").rglob("*.py"):
        assert path.read_text(encoding="utf-8").lstrip().startswith(('"""', 'r"""')), (
            path
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # By way of the sdist, as a release is built.
    command = (sys.executable, "-m", "build", "--outdir", str(folder))
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = next(n for n in names if n.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(info))
        points = archive.read(info.replace("METADATA", "entry_points.txt")).decode()
    sources = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "pytest_llmeval").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in names if ".dist-info/" not in name} == sources
    assert "pytest_llmeval/py.typed" in sources
    assert "pytest_llmeval/scaffold/templates/jenkins/Jenkinsfile" in sources
    assert metadata["Name"] == "pytest-llmeval-gate"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "pytest_llmeval.pytest_plugin = pytest_llmeval.pytest_plugin" in points
    assert "llmeval = pytest_llmeval.cli:main" in points
    needed = " ".join(metadata.get_all("Requires-Dist"))
    for name in ("pytest", "pluggy", "mlflow", "pandas", "scipy", "aiohttp"):
        assert name in needed
    assert "torch" not in needed


@pytest.mark.venv
@pytest.mark.parametrize("ours_first", [True, False])
def test_clash_with_the_other_package_is_one_clear_error(wheel, tmp_path, ours_first):
    """Install both for real; their dependencies come from the tests' environment."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    packages = [str(wheel), "pytest-llmeval==0.0.0"]
    for package in packages if ours_first else reversed(packages):
        pip = (sys.executable, "-m", "pip", "--python", str(python), "install")
        options = ("--no-deps", "--quiet", "--disable-pip-version-check")
        subprocess.run((*pip, *options, package), check=True, capture_output=True)
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    assert (site / "pytest_llmeval" / "plugin.py").exists()
    assert (site / "pytest_llmeval" / "pytest_plugin.py").exists()
    (site / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (tmp_path / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
    done = subprocess.run(
        (str(python), "-m", "pytest", "-p", "no:cacheprovider"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "pip uninstall -y pytest-llmeval pytest-llmeval-gate" in done.stderr
