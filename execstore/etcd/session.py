"""What a handle has in etcd while it is open: a lease, and under it the number of its newest transaction.

That number is how a client finds out whether a transaction was done whose answer it didn't get. Each transaction of a
session sets ``transactions/SESSION`` to the next number. It is sent again, as it was, until there is an answer: if it
is told that its comparisons fail, and the key holds its number, it had been done before; if the key holds another,
it wasn't, and can't be any more, since the head that it compares has moved on.

The key goes by itself when the lease does, ten minutes after its client was last heard of. Until half of that is over
the client may rely on it; by a clock that goes on while the machine sleeps.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Final

from execstore.errors import ExecStoreError
from execstore.etcd.failures import EtcdError
from execstore.etcd.wire import WireError, put

if TYPE_CHECKING:
    from execstore.etcd.gateway import Gateway
    from execstore.etcd.keys import Keys

__all__ = ["Lease", "Session"]

_SESSION_SECONDS: Final = 600
_GOODBYE_SECONDS: Final = 1.0


def awake_or_not() -> float:
    """Seconds that also count while the machine sleeps, where the system has such a clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)  # type: ignore[attr-defined, unused-ignore]


class Lease:
    """A lease of etcd's, asked for when it is first needed."""

    def __init__(self, gateway: Gateway, seconds: int) -> None:
        self._gateway = gateway
        self._seconds = seconds
        self._renewed = 0.0
        self.id = 0

    @property
    def is_young(self) -> bool:
        """Whether less than half of it is over for certain."""
        return bool(self.id) and awake_or_not() - self._renewed < self._seconds / 2

    def ensure(self, deadline: float) -> int:
        """Its ID; it is renewed, or asked for anew, if half of it may be over. Raises what `Gateway.call` does."""
        if not self.is_young and (not self.id or not self.renew(deadline)):
            began = awake_or_not()
            answer = self._gateway.call("lease/grant", b'{"TTL":"%d"}' % self._seconds, deadline).body
            try:
                self.id = int(answer["ID"])
            except (KeyError, ValueError):
                raise WireError("a lease was granted without an ID") from None
            self._renewed = began
        return self.id

    def renew(self, deadline: float) -> bool:
        """Begin it anew; whether it was still there."""
        began = awake_or_not()
        answer = self._gateway.call("lease/keepalive", b'{"ID":"%d"}' % self.id, deadline).body
        result = answer.get("result")
        if not isinstance(result, dict) or int(result.get("TTL", 0)) <= 0:
            self.id = 0
            return False
        self._renewed = began
        return True

    def forget(self) -> None:
        """It is known to be gone."""
        self.id = 0

    def end(self) -> None:
        """Give it back, with all that hangs on it; if that fails, time does it."""
        if self.id:
            with contextlib.suppress(EtcdError, ExecStoreError, WireError):
                deadline = time.monotonic() + _GOODBYE_SECONDS
                self._gateway.call("lease/revoke", b'{"ID":"%d"}' % self.id, deadline)
            self.id = 0


class Session:
    """The lease of a handle, and the number of its newest transaction. Used by one thread at a time."""

    def __init__(self, gateway: Gateway, keys: Keys) -> None:
        self.lease = Lease(gateway, _SESSION_SECONDS)
        self.key = keys.transaction(secrets.token_hex(8))
        self._number = 0

    def next_marker(self, deadline: float) -> tuple[bytes, bytes]:
        """The operation that marks the next transaction, and what it sets the key to."""
        lease = self.lease.ensure(deadline)
        self._number += 1
        value = b"%d" % self._number
        return put(self.key, value, lease), value

    def close(self) -> None:
        self.lease.end()
