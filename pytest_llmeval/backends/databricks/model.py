"""A served entity of an endpoint as the model under test."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from pytest_llmeval.backends.databricks.entities import Entity
from pytest_llmeval.backends.databricks.entities import read_entities
from pytest_llmeval.backends.databricks.workspace import Workspace
from pytest_llmeval.chat import ChatModel
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.records import ModelRef


FORMS = "endpoints:/NAME, endpoints:/NAME@champion, …@challenger or …#SERVED_ENTITY"


def load_endpoint(model: str, settings: Settings) -> ChatModel:
    """Return the model that one served entity of an endpoint is, resolved now.

    Requests go to that entity and no other, however the traffic is split.

    Args:
        model: ``endpoints:/NAME``, whose one entity has all the traffic;
            ``endpoints:/NAME@challenger`` and ``@champion``, the smaller and the larger
            share of two; or ``endpoints:/NAME#SERVED_ENTITY``.
        settings: Of the run.

    Raises:
        ConfigurationError: the string names no endpoint or not one entity of it.
        ModelError: there is no such endpoint.
    """
    path, _, served = model.removeprefix("endpoints:/").partition("#")
    endpoint, _, role = path.partition("@")
    if not endpoint or role not in ("", "champion", "challenger"):
        raise ConfigurationError(f"{model!r} is not of the form {FORMS}")
    workspace = Workspace(settings)
    found = workspace.find_endpoint(endpoint)
    if found is None:
        raise ModelError(f"{workspace.host} has no serving endpoint {endpoint!r}")
    entity = _choose(model, read_entities(found.get("config") or {}), served, role)
    version = f"{entity.model}/{entity.version}" if entity.version else None
    url = f"{workspace.host}/serving-endpoints/{quote(endpoint, safe='')}"
    return ChatModel(
        f"{url}/served-models/{quote(entity.name, safe='')}/invocations",
        ref=ModelRef(
            scheme="endpoints",
            name=endpoint,
            version=version,
            pinned=version is not None,
            requested=model,
        ),
        authorize=workspace.authorize,
        credentials="the Databricks credentials and CAN QUERY on the endpoint",
    )


def _choose(model: str, entities: Sequence[Entity], served: str, role: str) -> Entity:
    by_share = sorted(entities, key=lambda entity: -entity.traffic)
    if served:
        chosen = [entity for entity in entities if entity.name == served]
    elif role:
        chosen = by_share[-1 if role == "challenger" else 0 :][:1]
        if len(entities) != 2 or by_share[0].traffic == by_share[1].traffic:
            chosen = []
        if role == "champion" and len(entities) == 1:
            chosen = list(entities)
    else:
        chosen = [entity for entity in entities if entity.traffic == 100]
    if len(chosen) != 1:
        shown = ", ".join(f"{entity.name}: {entity}" for entity in by_share)
        raise ConfigurationError(
            f"{model!r} does not name one of what the endpoint serves ({shown}); write "
            f"{FORMS}"
        )
    return chosen[0]
