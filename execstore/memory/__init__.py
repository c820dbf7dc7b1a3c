"""The engine in memory: for tests and prototypes. ``execstore.connect("memory:")``.

It keeps every promise of an engine but durability: what it holds is gone with the process. ``memory:`` is a store of
its own each time; ``memory:name`` is one store for all that open it by this name in this process, until `forget`.
"""

from __future__ import annotations

from execstore.memory.engine import MemoryEngine, forget, open_engine

__all__ = ["MemoryEngine", "forget", "open_engine"]
