"""An `Ahead` over numbered rows, in this process or as a worker in one of its own."""

import json
import sys
from pathlib import Path

from pytest_llmeval.ahead import Ahead
from pytest_llmeval.config import Settings
from pytest_llmeval.datasets import load_dataset
from pytest_llmeval.hooks import headless_manager
from pytest_llmeval.models import build_request
from pytest_llmeval.models import load_model


def numbered(count):
    return [{"id": f"r{i}", "input": f"row {i}"} for i in range(count)]


def open_ahead(
    root, model, rows=64, *, order=None, run_id="1", budget=None, params=None, **given
):
    hook = headless_manager().hook
    settings = Settings(
        rootdir=Path(root), **{"concurrency": 4, "attempts": 1, **given}
    )
    rows = numbered(rows) if isinstance(rows, int) else rows
    dataset = load_dataset(rows, hook, settings)
    examples = list(dataset.examples)
    return Ahead(
        settings=settings,
        model=load_model(model, hook, settings),
        dataset=dataset,
        examples=examples,
        request=build_request(None, params),
        order=range(len(examples)) if order is None else order,
        run_id=run_id,
        store_path=settings.home / "predictions.db",
        budget=budget,
    )


def main():
    """Get rows as a worker does: wait for a line, then print each text."""
    mine, given = map(json.loads, sys.argv[1:])
    ahead = open_ahead(**given)
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        for position in mine:
            prediction = ahead.get(position)
            print(position, prediction.text or prediction.error.kind, flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    ahead.close()
    print("closed", flush=True)


if __name__ == "__main__":
    main()
