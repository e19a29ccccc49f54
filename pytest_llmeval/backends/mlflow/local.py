"""A port of this machine, as a target of a deployment: ``mlflow models serve``."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from pytest_llmeval.config import Settings
from pytest_llmeval.errors import DeploymentRefused
from pytest_llmeval.errors import ServiceError
from pytest_llmeval.records import Live
from pytest_llmeval.records import Move
from pytest_llmeval.records import Note
from pytest_llmeval.records import Plan
from pytest_llmeval.records import State
from pytest_llmeval.services import Service
from pytest_llmeval.text import one_line


HOST = "127.0.0.1"
CONTROL = "/llmeval/live"
ANSWER_S = 10.0
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy that the environment names does not know this machine."""
NOTHING: Live = {"model": None, "version": None}


class LocalTarget:
    """A front at a port, which says itself which version it passes requests on to."""

    order = 0

    def __init__(self, port: int, settings: Settings) -> None:
        self.name, self._port = f"local:{port}", port
        self.place = f"{HOST}:{port}"
        self._settings = settings
        self._folder = settings.home / "local"
        self._service = Service(self._folder, str(port))

    def read(self) -> State:
        """Ask the front; nothing is live where there is none."""
        told = self._ask("GET")
        if told is None:
            return State(live=NOTHING, text="nothing")
        live = {"model": told["model"], "version": told["version"]}
        text = "nothing"
        if told["version"] is not None:
            text = f"{told['model']} version {told['version']}"
        return State(
            live=live,
            text=text,
            busy=told["busy"],
            problem=one_line(told["problem"], 600),
            tags=told["tags"],
        )

    def plan(self, verdict: Mapping[str, Any] | None, move: Move, state: State) -> Plan:
        """Compare the verdict's model with what is served."""
        if move.step == "withdraw":
            return self._plan_to(state, state.live)
        if verdict is None:
            return self._plan_to(state, self._before(state))
        if move.step != "deploy":
            raise DeploymentRefused(
                "TRAFFIC_UNSUPPORTED",
                f"{self.name} serves one version to everybody; to {move.step} takes a "
                "serving endpoint",
            )
        model = verdict["model"]
        if model["scheme"] != "models" or not model["version"]:
            raise DeploymentRefused(
                "MODEL_MISMATCH",
                f"the run evaluated {model['requested'] or model['name']}, and "
                f"{self.name} serves registered versions; evaluate one with: pytest "
                "evals --llmeval-model models:/NAME/VERSION",
            )
        plan = self._plan_to(
            state, {"model": model["name"], "version": model["version"]}
        )
        if plan.changes and state.is_deployed_since(verdict["started_at"]):
            raise DeploymentRefused(
                "SUPERSEDED",
                f"{self.name} serves {state.text} since {state.deployed_at}, after the "
                "run started: another deployment came in between; evaluate again",
            )
        return plan

    def _before(self, state: State) -> Live:
        told = self._ask("GET")
        if told is None or not told["previous"]:
            raise DeploymentRefused(
                "NOTHING_TO_ROLL_BACK",
                f"{self.name} serves {state.text}, and nobody knows what it served "
                "before",
            )
        (version,) = told["previous"]
        model = state.live["model"]
        return NOTHING if version is None else {"model": model, "version": version}

    def _plan_to(self, state: State, after: Live) -> Plan:
        to = "nothing"
        if after["version"] is not None:
            to = f"{after['model']} version {after['version']}"
        is_same = after == state.live
        return Plan(
            target=self.name,
            before=state.live,
            after=after,
            changes=() if is_same else (f"port {self._port}: {state.text} -> {to}",),
            summary=f"{self.name} stays at {to}"
            if is_same
            else f"{self.name}: {state.text} -> {to}",
        )

    def write(
        self, before: Live, after: Live, tags: Mapping[str, str], note: Note
    ) -> None:
        """Have the front start a version and switch over to it."""
        if after == NOTHING and self._ask("GET") is None:
            return
        note(f"start the front of port {self._port}, where there is none")
        module = "pytest_llmeval.backends.mlflow.front"
        address = self._service.find_or_start(module, [])
        uri = f"models:/{after['model']}/{after['version']}"
        note(f"POST {CONTROL} {uri if after != NOTHING else 'nothing'}")
        order = {
            "before": before,
            "after": after,
            "tags": dict(tags),
            "tracking_uri": self._settings.tracking_uri,
            "wait_s": self._settings.deploy_timeout_s,
        }
        self._ask("POST", order, address.token)

    def _ask(
        self, method: str, body: Mapping[str, Any] | None = None, token: str = ""
    ) -> dict[str, Any] | None:
        """Return what the front says, or None where there is none."""
        request = urllib.request.Request(
            f"http://{HOST}:{self._port}{CONTROL}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
            },
        )
        try:
            with DIRECTLY.open(request, timeout=ANSWER_S) as reply:
                told = json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 409:
                    raise self._superseded() from None
                raise self._foreign(f"HTTP {error.code}") from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, ConnectionRefusedError):
                return None
            raise self._foreign(str(error.reason)) from None
        except ConnectionError:
            return None  # it ends right now
        except ValueError:
            raise self._foreign("no JSON") from None
        if not isinstance(told, dict) or "previous" not in told:
            raise self._foreign("another answer")
        return told

    def _superseded(self) -> DeploymentRefused:
        return DeploymentRefused(
            "SUPERSEDED",
            f"another deployment to {self.name} is going on, or has just been made; "
            "evaluate again",
        )

    def _foreign(self, said: str) -> ServiceError:
        return ServiceError(
            f"port {self._port} is held by another program, which answers with {said}; "
            "stop it, or deploy to another port"
        )
