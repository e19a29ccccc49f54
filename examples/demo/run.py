"""Shows one version go live and a worse one refused; see README.md beside this file."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


HERE = Path(__file__).parent
GOOD = "{passage}\n\n{question}"
WORSE = "Answer with one word: {question}"
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


def main() -> int:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(CI_VARIABLES)
    }
    with tempfile.TemporaryDirectory(prefix="llmeval-demo-") as folder:
        project = Path(folder) / "project"
        shutil.copytree(HERE, project, ignore=shutil.ignore_patterns("__pycache__"))
        environment |= {
            "MLFLOW_TRACKING_URI": f"sqlite:///{project / 'mlflow.db'}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_LOGGING_LEVEL": "ERROR",
            "PYTHONWARNINGS": "ignore",
        }

        def run(*command: str) -> int:
            sys.stdout.flush()
            done = subprocess.run(command, cwd=project, env=environment, check=False)
            return done.returncode

        def python(code: str, *arguments: str) -> None:
            done = subprocess.run(
                (sys.executable, "-c", code, *arguments),
                cwd=project,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            print(done.stdout, end="")
            if done.returncode != 0:  # MLflow's messages matter only now
                raise SystemExit(done.stderr)

        git = ("git", "-c", "user.name=demo", "-c", "user.email=demo@example.org")
        (project / ".gitignore").write_text(".llmeval/\nmlflow.db\nmlartifacts/\n")
        run("git", "init", "--quiet")
        run("git", "add", "--all")
        run(*git, "commit", "--quiet", "--message", "A suite and its gates")
        evaluate = ("evals/", "-q", "--llmeval-deploy", "registry:docs-qa@champion")

        print("== 1. a prompt that gives the model the passage")
        python(REGISTER, GOOD)
        print("$ pytest", *evaluate)
        first = run(sys.executable, "-m", "pytest", *evaluate)
        python(SHOW)

        print("\n== 2. a prompt that leaves the passage out")
        python(REGISTER, WORSE)
        print("$ pytest", *evaluate)
        second = run(sys.executable, "-m", "pytest", "--tb=line", *evaluate)
        python(SHOW)

    print(f"\nexit status of the first run: {first}, of the second: {second}")
    return 0 if first == 0 and second != 0 else 1


if __name__ == "__main__":
    raise SystemExit(main())
