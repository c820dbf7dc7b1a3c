"""execstore: an execution store on plain files, changed atomically, followed live, with no database behind it.

``Store`` is where to begin; the README has ten lines that use it.
"""

from __future__ import annotations

import logging

from execstore import errors, watcher
from execstore.models import (
    Event,
    Execution,
    ExecutionUpsert,
    RunCommandResult,
    SpecConfig,
    State,
    UpdateExecutionCondition,
    UpdateExecutionRequest,
)
from execstore.states import DesiredState, ExecutionState
from execstore.store import Store
from execstore.transaction import Transaction

__all__ = [
    "DesiredState",
    "Event",
    "Execution",
    "ExecutionState",
    "ExecutionUpsert",
    "RunCommandResult",
    "SpecConfig",
    "State",
    "Store",
    "Transaction",
    "UpdateExecutionCondition",
    "UpdateExecutionRequest",
    "errors",
    "watcher",
]

# A library leaves it to the program whether and where its messages are seen.
logging.getLogger("execstore").addHandler(logging.NullHandler())
