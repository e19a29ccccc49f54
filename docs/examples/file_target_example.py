"""A deployment target of one's own: the version that a file names is live."""

from pathlib import Path

from pytest_llmeval import DeploymentRefused
from pytest_llmeval import Plan
from pytest_llmeval import State


class FileTarget:
    """``file:PATH``: the version that a file names."""

    order = 1  # endpoints are 0, names 1

    def __init__(self, path):
        self.name, self.place, self.path = f"file:{path}", str(path.resolve()), path

    def read(self):
        version = self.path.read_text() if self.path.exists() else None
        return State(live={"version": version}, text=f"version {version}")

    def plan(self, verdict, move, state):
        if verdict is None:
            raise DeploymentRefused("NOTHING_TO_ROLL_BACK", f"{self.name} has no past")
        after = {"version": verdict["model"]["version"]}
        summary = f"{self.name}: {state.text} -> version {after['version']}"
        changes = () if after == state.live else (summary,)
        return Plan(
            target=self.name,
            before=state.live,
            after=after,
            changes=changes,
            summary=summary,
        )

    def write(self, before, after, tags, note):
        live = self.read().live
        if live not in (before, after):
            raise DeploymentRefused("SUPERSEDED", f"{self.name} names {live}")
        note(f"write {self.path}")
        if after["version"] is None:
            self.path.unlink(missing_ok=True)
        else:
            self.path.write_text(after["version"])


def pytest_llmeval_deploy_target(target):
    if target.startswith("file:"):
        return FileTarget(Path(target.removeprefix("file:")))
    return None
