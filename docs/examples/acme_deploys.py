"""A module that llmeval_plugins names: it vetoes deployments, and announces them."""

from pathlib import Path


FREEZE = Path("FREEZE")
NEWS = Path("news.txt")


def tell_the_team(line):
    with NEWS.open("a") as file:
        file.write(f"{line}\n")


def pytest_llmeval_gate(verdict):
    if FREEZE.exists():
        return f"nothing goes live now: {FREEZE.read_text().strip()}"
    return None


def pytest_llmeval_deploy(verdict, plan):
    for one in plan:
        if one.changes:
            tell_the_team(f"{one.summary}, evaluated by {verdict['run_id']}")
