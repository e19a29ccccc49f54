"""Gives the project's own tests pytest's `pytester`; suites in evals/ need nothing."""

pytest_plugins = ["pytester"]
