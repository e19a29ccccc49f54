"""What a function does, as a digest: so that a changed one is another one."""

from __future__ import annotations

import inspect
import textwrap
from types import CodeType

from pytest_llmeval.records import digest_of


def code_parts(code: CodeType) -> tuple[object, ...]:
    """Return all of a function's code but where it stands."""
    constants = [
        code_parts(item) if isinstance(item, CodeType) else item
        for item in code.co_consts
    ]
    return (code.co_code, code.co_names, constants)


def digest_code(function: object) -> str | None:
    """Return a digest of a function's own text, else of its byte code; None for others.

    What the function calls is not covered.
    """
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return None
    try:
        text = textwrap.dedent(inspect.getsource(code))
    except (OSError, TypeError):  # made at run time
        text = repr(code_parts(code))
    values = [repr(getattr(function, "__defaults__", None))]
    cells = getattr(function, "__closure__", None) or ()
    values += [repr(cell.cell_contents) for cell in cells]
    # An address says nothing, and is another one tomorrow.
    return digest_of([text, *(value for value in values if " at 0x" not in value)])
