"""What a user types to choose executions."""

from __future__ import annotations

import pytest

from execstore.errors import InvalidArgumentError
from execstore.top.filters import Filter, parse_filter
from execstore.top.model import EventRow, ExecutionRow

_ROW = ExecutionRow("e-1f3a", "j-77", "Thumbnails", "default", "n-1", "Running", "on GPU 0", 2, 1, 2)
_EVENT = EventRow(
    5, 1, "UPDATE", "ExecutionUpsert", "e-1f3a", "j-77", "Thumbnails", ("New", "Running"), "New → Running"
)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("", Filter()),
        ("  gpu  0 ", Filter(words=("gpu", "0"))),
        ("state:failed", Filter("Failed")),
        ("STATE:Run job:thumb x", Filter("Running", "thumb", ("x",))),
        ("http://x 12:30 e-1:2", Filter(words=("http://x", "12:30", "e-1:2"))),
        ("job:", Filter()),
        ("state:BidAccepted", Filter("BidAccepted")),
        ("state:askforbid", Filter("AskForBid")),
    ],
)
def test_a_filter_is_read(text: str, parsed: Filter) -> None:
    assert parse_filter(text) == parsed
    assert parse_filter(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("state:nope", "'nope' is none; it is one of Undefined, New"),
        ("state:", "'' is none"),
        ("state:bid", "any of"),
        ("foo:bar", "'foo:bar' begins with no key that there is, state: or job:"),
        ("hello Foo:", "'Foo:' begins with no key"),
    ],
)
def test_a_key_or_a_state_that_is_none_is_told(text: str, said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=said):
        parse_filter(text)


@pytest.mark.parametrize(
    ("text", "execution", "event"),
    [
        ("", True, True),
        ("state:running", True, True),
        ("state:new", False, True),
        ("state:failed", False, False),
        ("job:j-7", True, True),
        ("job:THUMB", True, True),
        ("job:-77", False, False),
        ("1F3A", True, True),
        ("gpu 1f", True, False),
        ("gpu 1", True, False),
        ("cpu", False, False),
        ("n-1", True, False),
        ("upsert", False, True),
    ],
)
def test_what_a_filter_takes(text: str, execution: bool, event: bool) -> None:
    chosen = parse_filter(text)
    assert (chosen.takes_execution(_ROW), chosen.takes_event(_EVENT)) == (execution, event)
