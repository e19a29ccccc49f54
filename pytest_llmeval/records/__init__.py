"""The values that travel between stages, and the protocols that others implement.

Values hold data and identity. They never render, fetch or decide.
"""

from __future__ import annotations

from pytest_llmeval.records.canonical import as_text
from pytest_llmeval.records.canonical import canonical
from pytest_llmeval.records.canonical import digest_of
from pytest_llmeval.records.canonical import finite_or_text
from pytest_llmeval.records.canonical import is_finite
from pytest_llmeval.records.canonical import is_missing
from pytest_llmeval.records.canonical import is_number
from pytest_llmeval.records.canonical import is_range
from pytest_llmeval.records.canonical import plain
from pytest_llmeval.records.deployments import BaselineTarget
from pytest_llmeval.records.deployments import DeployTarget
from pytest_llmeval.records.deployments import Live
from pytest_llmeval.records.deployments import Move
from pytest_llmeval.records.deployments import Note
from pytest_llmeval.records.deployments import Plan
from pytest_llmeval.records.deployments import State
from pytest_llmeval.records.deployments import Step
from pytest_llmeval.records.gates import LONGEST_FLIP
from pytest_llmeval.records.gates import OPS
from pytest_llmeval.records.gates import Comparison
from pytest_llmeval.records.gates import Decision
from pytest_llmeval.records.gates import Flip
from pytest_llmeval.records.gates import Gate
from pytest_llmeval.records.gates import Kind
from pytest_llmeval.records.gates import Metric
from pytest_llmeval.records.gates import MetricValue
from pytest_llmeval.records.gates import Missing
from pytest_llmeval.records.gates import OnError
from pytest_llmeval.records.gates import Op
from pytest_llmeval.records.gates import Status
from pytest_llmeval.records.gates import WorstRow
from pytest_llmeval.records.protocols import Ask
from pytest_llmeval.records.protocols import Model
from pytest_llmeval.records.protocols import Progress
from pytest_llmeval.records.protocols import Recorder
from pytest_llmeval.records.protocols import RowSource
from pytest_llmeval.records.protocols import StoredRun
from pytest_llmeval.records.protocols import Tracker
from pytest_llmeval.records.rows import Dataset
from pytest_llmeval.records.rows import DatasetRef
from pytest_llmeval.records.rows import Example
from pytest_llmeval.records.rows import ModelRef
from pytest_llmeval.records.rows import Prediction
from pytest_llmeval.records.rows import Prompt
from pytest_llmeval.records.rows import Reply
from pytest_llmeval.records.rows import Request
from pytest_llmeval.records.rows import Row
from pytest_llmeval.records.rows import RowError
from pytest_llmeval.records.rows import Usage
from pytest_llmeval.records.tables import Changes
from pytest_llmeval.records.tables import Rows
from pytest_llmeval.records.tables import Sample
from pytest_llmeval.records.tables import ScoreTable
from pytest_llmeval.records.tables import Table
from pytest_llmeval.records.tables import TableJob
from pytest_llmeval.records.tables import Tally
from pytest_llmeval.records.wire import from_builtins
from pytest_llmeval.records.wire import to_builtins
from pytest_llmeval.records.wire import to_text


__all__ = [
    "LONGEST_FLIP",
    "OPS",
    "Ask",
    "BaselineTarget",
    "Changes",
    "Comparison",
    "Dataset",
    "DatasetRef",
    "Decision",
    "DeployTarget",
    "Example",
    "Flip",
    "Gate",
    "Kind",
    "Live",
    "Metric",
    "MetricValue",
    "Missing",
    "Model",
    "ModelRef",
    "Move",
    "Note",
    "OnError",
    "Op",
    "Plan",
    "Prediction",
    "Progress",
    "Prompt",
    "Recorder",
    "Reply",
    "Request",
    "Row",
    "RowError",
    "RowSource",
    "Rows",
    "Sample",
    "ScoreTable",
    "State",
    "Status",
    "Step",
    "StoredRun",
    "Table",
    "TableJob",
    "Tally",
    "Tracker",
    "Usage",
    "WorstRow",
    "as_text",
    "canonical",
    "digest_of",
    "finite_or_text",
    "from_builtins",
    "is_finite",
    "is_missing",
    "is_number",
    "is_range",
    "plain",
    "to_builtins",
    "to_text",
]
