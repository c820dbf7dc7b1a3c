"""execstore: an execution store on plain files, changed atomically, followed live, with no database behind it.

``Store`` is where to begin; the README shows it at work under "From Python". ``connect`` opens one by an address, which
needn't be that of a folder.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from execstore import errors, watcher
    from execstore.addresses import connect
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
    "connect",
    "errors",
    "watcher",
]

# Where each name is. It is loaded when it is first used (PEP 562), so that a script or a command that needs a part of
# the library doesn't wait for all of it.
_PLACES: Final = {
    "DesiredState": "execstore.states",
    "Event": "execstore.models",
    "Execution": "execstore.models",
    "ExecutionState": "execstore.states",
    "ExecutionUpsert": "execstore.models",
    "RunCommandResult": "execstore.models",
    "SpecConfig": "execstore.models",
    "State": "execstore.models",
    "Store": "execstore.store",
    "Transaction": "execstore.transaction",
    "UpdateExecutionCondition": "execstore.models",
    "UpdateExecutionRequest": "execstore.models",
    "connect": "execstore.addresses",
}
_MODULES: Final = ("errors", "watcher")

# A library leaves it to the program whether and where its messages are seen.
logging.getLogger("execstore").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"execstore.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module 'execstore' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_PLACES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
