"""What goes from the ``.llmeval`` folder by age and size, and what never does.

A plan is made and shown first. Carried out, everything is renamed out of the way before
any of it is deleted, so that a process that is killed leaves a folder that is whole.
"""

from __future__ import annotations

from pytest_llmeval.retention.plan import Doomed
from pytest_llmeval.retention.plan import Limits
from pytest_llmeval.retention.plan import Plan
from pytest_llmeval.retention.plan import make_plan
from pytest_llmeval.retention.remove import carry_out


__all__ = ["Doomed", "Limits", "Plan", "carry_out", "make_plan"]
