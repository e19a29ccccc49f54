"""Shows one version go live and a worse one refused; see README.md beside this file."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path


HERE = Path(__file__).parent
GOOD = "{passage}\n\n{question}"
WORSE = "Answer with one word: {question}"
QUESTION = (
    "A fixture is a function that prepares what a test needs.###What is a fixture?"
)
# Where a run comes from decides whether it may deploy; the demo stands for a laptop.
CI_VARIABLES = ("CI", "GITHUB_", "JENKINS_", "BUILD_", "GITLAB_", "GIT_", "MLFLOW_")
REGISTER = """
import sys, warnings
warnings.filterwarnings("ignore")
import mlflow
mlflow.pyfunc.log_model(
    name="docs-qa", python_model="model.py", registered_model_name="docs-qa",
    model_config={"prompt": sys.argv[1]}, pip_requirements=[],
)
client = mlflow.MlflowClient()
version = max(int(v.version) for v in client.search_model_versions("name='docs-qa'"))
client.set_registered_model_alias("docs-qa", "candidate", str(version))
print(f"registered docs-qa version {version}, alias candidate")
"""
SHOW = """
import mlflow
model = mlflow.MlflowClient().get_registered_model("docs-qa")
print("aliases now:", dict(model.aliases))
"""


class Project:
    """A fresh git repository with the suite, a registry, and a free port."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "project"
        shutil.copytree(HERE, self.path, ignore=shutil.ignore_patterns("__pycache__"))
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(CI_VARIABLES)
        }
        self._environment = kept | {
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.path / 'mlflow.db'}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_LOGGING_LEVEL": "ERROR",
            "PYTHONWARNINGS": "ignore",
        }
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.target = f"local:{self.port},registry:docs-qa@champion"
        self._commit()

    def _commit(self) -> None:
        git = ("git", "-c", "user.name=demo", "-c", "user.email=demo@example.org")
        ignored = ".llmeval/\nmlflow.db\nmlartifacts/\n__pycache__/\n"
        (self.path / ".gitignore").write_text(ignored)
        self._run("git", "init", "--quiet")
        self._run("git", "add", "--all")
        self._run(*git, "commit", "--quiet", "--message", "A suite and its gates")

    def _run(self, *command: str) -> int:
        sys.stdout.flush()
        done = subprocess.run(
            command, cwd=self.path, env=self._environment, check=False
        )
        return done.returncode

    def python(self, code: str, *arguments: str) -> None:
        done = subprocess.run(
            (sys.executable, "-c", code, *arguments),
            cwd=self.path,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stdout, end="")
        if done.returncode != 0:  # MLflow's messages matter only now
            raise SystemExit(done.stderr)

    def evaluate(self, *options: str) -> int:
        """Evaluate the candidate, and deploy it when it passes."""
        arguments = ("evals/", "-q", *options, "--llmeval-deploy", self.target)
        print("$ pytest", *arguments)
        return self._run(sys.executable, "-m", "pytest", *arguments)

    def deploy(self, *arguments: str) -> int:
        print("$ llmeval deploy", *arguments, "--target", self.target)
        llmeval = str(Path(sys.executable).with_name("llmeval"))
        return self._run(llmeval, "deploy", *arguments, "--target", self.target)

    def ask(self) -> None:
        """Ask whatever is live at the port."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/invocations",
            json.dumps({"inputs": [QUESTION]}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as reply:
            (answer,) = json.load(reply)["predictions"]
        print(f"port {self.port} answers: {answer.splitlines()[0]}")


def show(project: Project) -> bool:
    """Go through the steps; return whether they came out as they should."""
    print("== 1. a prompt that gives the model the passage")
    project.python(REGISTER, GOOD)
    first = project.evaluate()
    project.python(SHOW)
    project.ask()

    print("\n== 2. a prompt that leaves the passage out")
    project.python(REGISTER, WORSE)
    second = project.evaluate("--tb=line")
    project.python(SHOW)
    project.ask()

    print("\n== 3. back to what was live before")
    third = project.deploy("rollback", "--yes")
    project.python(SHOW)
    print(f"\nexit statuses: {first}, {second} and {third}")
    return first == 0 and second != 0 and third == 0


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="llmeval-demo-") as folder:
        project = Project(Path(folder))
        is_shown = False
        try:
            is_shown = show(project)
        finally:
            if not is_shown:
                project.deploy("rollback", "--yes")  # stops what is served
    return 0 if is_shown else 1


if __name__ == "__main__":
    raise SystemExit(main())
