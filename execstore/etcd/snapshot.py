"""One moment of etcd: the first question fixes the revision, all others are of the same one.

Round trips are what costs, so a look asks together what was asked together before: `Habits` remember, by the first
question of a look, what followed, and that is asked in the same transaction next time. What is remembered is never
believed, only asked for, so an outdated habit costs a few bytes or one more question.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from execstore.etcd.failures import EtcdError, Meaning, not_etcd, to_store_error
from execstore.etcd.keys import end_of
from execstore.etcd.wire import WireError, key_values, range_request, read_transaction, responses, revision_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from execstore.etcd.gateway import Gateway
    from execstore.etcd.wire import KeyValue

__all__ = ["CompactedError", "Habits", "Question", "Snapshot", "all_keys", "all_values"]

_TOGETHER: Final = 100  # etcd takes 128 operations in a transaction
_PAGE: Final = 2000
_PAGE_OF_KEYS: Final = 20000
_HABITS: Final = 256
_REMEMBERED_BYTES: Final = 32 << 20


class CompactedError(Exception):
    """etcd was compacted while the look lasted: it must begin anew, at a newer revision."""


class Question(NamedTuple):
    """A key, or all keys from ``key`` up to ``end``."""

    key: bytes
    end: bytes | None = None
    keys_only: bool = False
    limit: int = 0


def all_keys(start: bytes, end: bytes | None = None) -> Question:
    """What `Snapshot.ask_for_all` asks first; without ``end``, of all keys that begin with ``start``."""
    return Question(start, end_of(start) if end is None else end, keys_only=True, limit=_PAGE_OF_KEYS)


def all_values(start: bytes, end: bytes | None = None) -> Question:
    """The same with the values."""
    return Question(start, end_of(start) if end is None else end, limit=_PAGE)


class Habits:
    """What looks asked for before, by their first question. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._followers: OrderedDict[Question, dict[Question, None]] = OrderedDict()

    def followers(self, first: Question) -> list[Question]:
        """What to ask besides."""
        with self._lock:
            found = self._followers.get(first)
            if found is None:
                return []
            self._followers.move_to_end(first)
            return list(found)

    def learn(self, first: Question, others: Sequence[Question]) -> None:
        """A look that began with ``first`` asked for ``others``, and no more.

        If they are more than fit into a transaction with it, it is left alone: a part of them would be no help.
        """
        with self._lock:
            if 0 < len(others) < _TOGETHER:
                self._put(first, dict.fromkeys(others))
            else:
                self._followers.pop(first, None)

    def expect(self, first: Question, other: Question) -> None:
        """A look that begins with ``first`` will ask for ``other``, too."""
        with self._lock:
            found = self._followers.get(first, {})
            if len(found) < _TOGETHER - 1:
                found[other] = None
            self._put(first, found)

    def _put(self, first: Question, others: dict[Question, None]) -> None:
        self._followers[first] = others
        self._followers.move_to_end(first)
        if len(self._followers) > _HABITS:
            self._followers.popitem(last=False)


class Snapshot:
    """Asks questions about one moment, and remembers the answers. Used by one thread."""

    def __init__(
        self,
        gateway: Gateway,
        deadline: Callable[[], float],
        habits: Habits | None = None,
        check: Callable[[list[KeyValue]], None] | None = None,
        checked: Question | None = None,
    ) -> None:
        """``deadline`` gives that of a call, of ``time.monotonic``. ``check`` is called with the answer to ``checked``
        when the moment is fixed, and may raise."""
        self.revision = 0
        self.used: dict[Question, None] = {}
        self._gateway = gateway
        self._deadline = deadline
        self._habits = habits
        self._check = check
        self._checked = checked
        self._answers: dict[Question, list[KeyValue]] = {}
        self._answers_bytes = 0
        self._first: Question | None = None

    def ask(self, question: Question) -> list[KeyValue]:
        """The answer to one question. Raises ``CompactedError``, and what `Gateway.call` does."""
        return self.ask_all((question,))[0]

    def ask_all(self, questions: Sequence[Question]) -> list[list[KeyValue]]:
        """The answers to several, in as few calls as may be."""
        if len(self.used) <= _TOGETHER:  # of more, nothing is learned
            for question in questions:
                self.used[question] = None
        unknown = [each for each in dict.fromkeys(questions) if each not in self._answers]
        answers = {each: self._answers[each] for each in questions if each in self._answers}
        if unknown and not self.revision and self._habits is not None and unknown[0].end is not None:
            self._first = unknown[0]
            known = set(unknown)
            unknown += [each for each in self._habits.followers(self._first) if each not in known]
        for start in range(0, len(unknown), _TOGETHER):
            answers |= self._fetch(unknown[start : start + _TOGETHER])
        return [answers[question] for question in questions]

    def known(self, question: Question) -> list[KeyValue] | None:
        """The answer, if it needn't be asked for."""
        return self._answers.get(question)

    def ask_for_all(self, key: bytes, end: bytes, *, keys_only: bool = False) -> list[KeyValue]:
        """All keys of a range, however many: page by page."""
        limit = _PAGE_OF_KEYS if keys_only else _PAGE
        found = page = self.ask(all_keys(key, end) if keys_only else all_values(key, end))
        while len(page) == limit:
            page = self.ask(Question(page[-1].key + b"\0", end, keys_only, limit))
            found = found + page
        return found

    def end(self) -> None:
        """The look is over: remember what it asked for."""
        if self._habits is not None and self._first is not None:
            self._habits.learn(self._first, [each for each in self.used if each != self._first])

    def _fetch(self, questions: list[Question]) -> dict[Question, list[KeyValue]]:
        asked = questions
        if not self.revision and self._checked is not None and self._checked not in questions:
            asked = [self._checked, *questions]
        requests = [
            range_request(each.key, each.end, keys_only=each.keys_only, limit=each.limit, revision=self.revision)
            for each in asked
        ]
        try:
            if len(requests) == 1:
                answer = self._gateway.call("kv/range", requests[0], self._deadline()).body
                found = [key_values(answer)]
            else:
                answer = self._gateway.call("kv/txn", read_transaction(requests), self._deadline()).body
                found = responses(answer)
        except EtcdError as error:
            if error.meaning is Meaning.COMPACTED:
                raise CompactedError from None
            raise to_store_error(error, self._gateway.address) from None
        except WireError as error:
            raise not_etcd(error, self._gateway.address) from None
        if not self.revision:
            if self._check is not None and self._checked is not None:
                self._check(found[asked.index(self._checked)])
            self.revision = revision_of(answer)
        answers = dict(zip(asked, found, strict=True))
        self._remember(answers)
        return answers

    def _remember(self, answers: dict[Question, list[KeyValue]]) -> None:
        """Keep answers for when they are asked for again: not all of a look that goes through the whole store."""
        added = sum(100 + len(each.key) + len(each.value) for found in answers.values() for each in found)
        if self._answers_bytes + added > _REMEMBERED_BYTES:
            self._answers.clear()
            self._answers_bytes = 0
        self._answers.update(answers)
        self._answers_bytes += added
