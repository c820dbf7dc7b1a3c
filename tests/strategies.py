"""Executions by chance, out of whatever parts a test wants them made of."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from execstore import DesiredState, Execution, ExecutionState, RunCommandResult, SpecConfig, State

__all__ = ["executions_of"]


def executions_of(
    *,
    texts: st.SearchStrategy[str],
    objects: st.SearchStrategy[dict[str, Any]],
    extras: st.SearchStrategy[dict[str, Any]],
    details: st.SearchStrategy[dict[str, str]],
    integers: st.SearchStrategy[int],
    counts: st.SearchStrategy[int],
    state_numbers: st.SearchStrategy[int],
) -> st.SearchStrategy[Execution]:
    """``objects``: free JSON; ``extras``: members that no model knows; ``counts``: integers that aren't negative."""

    def states(kind: type[ExecutionState | DesiredState]) -> st.SearchStrategy[State[Any]]:
        return st.builds(State, state_numbers.map(kind.from_number), texts, details, extra=extras)

    flags = st.booleans()
    return st.builds(
        Execution,
        id=texts,
        namespace=texts,
        eval_id=texts,
        name=texts,
        node_id=texts,
        job_id=texts,
        job=st.none() | objects,
        job_version=counts,
        allocated_resources=st.none() | objects,
        desired_state=states(DesiredState),
        compute_state=states(ExecutionState),
        published_result=st.none() | st.builds(SpecConfig, texts, objects, extra=extras),
        run_output=st.none() | st.builds(RunCommandResult, texts, flags, texts, flags, integers, texts, extra=extras),
        previous_execution=texts,
        next_execution=texts,
        followup_eval_id=texts,
        partition_index=integers,
        revision=counts,
        create_time=integers,
        modify_time=integers,
        extra=extras,
    )
