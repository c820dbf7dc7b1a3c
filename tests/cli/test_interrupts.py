"""Ctrl-C waits until what is being written is done."""

from __future__ import annotations

import signal
import threading

import pytest

from execstore.cli.interrupts import held_back


def test_the_first_takes_effect_behind_it() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), held_back():
        signal.raise_signal(signal.SIGINT)
        done.append("all of it")
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_takes_effect_at_once() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), held_back():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("the rest")
    assert done == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_comes_of_nothing() -> None:
    with held_back():
        pass
    with pytest.raises(ValueError, match="its own"), held_back():
        raise ValueError("its own")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_handler_and_another_thread_are_left_alone() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        with held_back():
            signal.raise_signal(signal.SIGINT)
            assert came == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)
    failures: list[BaseException] = []

    def elsewhere() -> None:
        try:
            with held_back():
                pass
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert failures == []
