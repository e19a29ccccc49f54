"""What a session may spend on its model, counted over all its processes.

Apart from the predictions store, because it also holds when nothing is stored.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_llmeval.config import Price
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.records import Reply


TABLE = """CREATE TABLE IF NOT EXISTS spent (
    one INTEGER PRIMARY KEY CHECK (one = 1), requests INTEGER NOT NULL,
    tokens INTEGER NOT NULL, cost_usd REAL NOT NULL
)"""


def open_budget(settings: Settings, path: Path | None, began: float) -> Budget | None:
    """Return the budget that the settings set, or None when they set no limit."""
    limits = (
        settings.max_requests,
        settings.max_tokens,
        settings.max_cost_usd,
        settings.max_seconds,
    )
    if all(limit is None for limit in limits):
        return None
    return Budget(settings, path, began)


class Budget:
    """An account of requests, tokens and dollars that is never overdrawn knowingly.

    A request is counted before it is sent. Tokens and dollars are known when its reply
    is there, so requests that are on their way may go past those two limits.

    Args:
        settings: Hold the limits.
        path: A file that the session's processes share; None for this process alone.
        began: When the session began, on the system's monotonic clock in seconds.

    Raises:
        ConfigurationError: the file cannot be written; so all methods.
    """

    def __init__(self, settings: Settings, path: Path | None, began: float) -> None:
        self._limits, self._path, self._began = settings, path, began
        with self._naming_file():
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path or ":memory:",
                timeout=60,
                isolation_level=None,
                check_same_thread=False,
            )
        self._run("PRAGMA synchronous = OFF")  # worthless after a crash
        self._run(TABLE)
        self._run("INSERT OR IGNORE INTO spent VALUES (1, 0, 0, 0)")

    @contextmanager
    def _naming_file(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"cannot write the budget's account {self._path}: {error}; choose "
                "another folder with --llmeval-dir"
            ) from None

    def _run(self, query: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        with self._naming_file():
            return self._db.execute(query, values)

    def take(self) -> str | None:
        """Take one request from the budget, or return which limit is reached."""
        limits, seconds = self._limits, self._limits.max_seconds
        if seconds is not None and time.monotonic() - self._began >= seconds:
            return f"--llmeval-max-seconds {seconds:g} is reached"
        taken = self._run(
            "UPDATE spent SET requests = requests + 1 WHERE (?1 IS NULL OR requests <"
            " ?1) AND (?2 IS NULL OR tokens < ?2) AND (?3 IS NULL OR cost_usd < ?3)",
            (limits.max_requests, limits.max_tokens, limits.max_cost_usd),
        )
        return None if taken.rowcount else self._reached()

    def _reached(self) -> str:
        most = self._limits
        requests, tokens, cost_usd = self._run(
            "SELECT requests, tokens, cost_usd FROM spent"
        ).fetchone()
        if most.max_requests is not None and requests >= most.max_requests:
            return f"--llmeval-max-requests {most.max_requests} is reached"
        if most.max_tokens is not None and tokens >= most.max_tokens:
            return f"--llmeval-max-tokens {most.max_tokens} is reached: {tokens} used"
        limit = f"--llmeval-max-cost-usd {most.max_cost_usd:g}"
        return f"{limit} is reached: {cost_usd:.4f} spent"

    def spend(self, reply: Reply) -> None:
        """Count what a reply used.

        Raises:
            ModelError: there is a limit in dollars, and the reply's cost is not known.
        """
        if self._limits.max_cost_usd is not None and reply.cost_usd is None:
            raise ModelError(
                "--llmeval-max-cost-usd is set, and the model neither reports what a "
                "reply costs nor has a price: add a line MODEL = PROMPT OUTPUT (US "
                "dollars for a million tokens) to the ini value llmeval_prices"
            )
        tokens = (reply.prompt_tokens or 0) + (reply.output_tokens or 0)
        self._run(
            "UPDATE spent SET tokens = tokens + ?, cost_usd = cost_usd + ?",
            (tokens, reply.cost_usd or 0.0),
        )

    def shares(self, parts: int) -> dict[str, int | float | None]:
        """Return what is left, in equal parts, by the fields of `Settings`."""
        requests, tokens, cost_usd = self._run(
            "SELECT requests, tokens, cost_usd FROM spent"
        ).fetchone()
        most = self._limits
        gone_s = time.monotonic() - self._began

        def left(limit: int | None, spent: int) -> int | None:
            return None if limit is None else max(limit - spent, 0) // parts

        dollars, seconds = most.max_cost_usd, most.max_seconds
        return {
            "max_requests": left(most.max_requests, requests),
            "max_tokens": left(most.max_tokens, tokens),
            "max_cost_usd": None
            if dollars is None
            else max(dollars - cost_usd, 0.0) / parts,
            "max_seconds": None if seconds is None else max(seconds - gone_s, 0.0),
        }

    def spend_shares(self, requests: int, tokens: int, cost_usd: float) -> None:
        """Count what was used of `shares`."""
        self._run(
            "UPDATE spent SET requests = requests + ?, tokens = tokens + ?,"
            " cost_usd = cost_usd + ?",
            (requests, tokens, cost_usd),
        )

    def close(self) -> None:
        """Close the account's file."""
        self._db.close()


def find_price(prices: Mapping[str, Price], *names: str | None) -> Price | None:
    """Return the price under the first of these names that has one."""
    return next((prices[name] for name in names if name in prices), None)  # type: ignore[index]  # in prices


def cost_of(price: Price | None) -> Callable[[Reply], float | None]:
    """Return what tells a reply's cost: the model's own report, else by the price."""

    def cost_usd(reply: Reply) -> float | None:
        if reply.cost_usd is not None or price is None:
            return reply.cost_usd
        tokens = (reply.prompt_tokens, reply.output_tokens)
        if None in tokens:
            return None
        pairs = zip(price, tokens, strict=True)
        return sum(dollars * (count or 0) / 1e6 for dollars, count in pairs)

    return cost_usd
