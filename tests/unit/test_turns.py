"""Turns: whatever waits comes after what it waits for, the longest chain first, and nobody waits for a failure."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from crm_migrate.turns import OthersFailed, Turns

PARENTS = {
    "alone": (),
    "leaf": ("second", "elsewhere"),
    "second": ("first",),
    "first": ("elsewhere",),
    "other": ("first",),
}


def test_the_longest_chain_is_first() -> None:
    turns = Turns(PARENTS)
    taken = []
    for _ in PARENTS:
        with turns.take() as name:
            taken.append(name)
    assert taken == ["first", "second", "alone", "leaf", "other"]


def test_a_piece_waits_until_what_it_needs_is_done() -> None:
    turns = Turns({"child": ("parent",), "parent": ()})
    done, others = [], threading.Event()

    def take() -> None:
        with turns.take() as name:
            if name == "parent":
                assert others.wait(10)
            done.append(name)

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(take) for _ in range(2)]
        assert done == []
        others.set()
        for future in futures:
            future.result(10)
    assert done == ["parent", "child"]


def test_nobody_waits_for_what_failed() -> None:
    turns = Turns({"child": ("parent",), "parent": ()})
    taken, begun = threading.Event(), threading.Event()

    def fail() -> None:
        with turns.take():
            taken.set()
            assert begun.wait(10)
            raise ValueError("no parent")

    def wait() -> None:
        assert taken.wait(10)
        begun.set()
        with turns.take():
            pytest.fail("its parent failed")

    with ThreadPoolExecutor(2) as pool:
        failing = pool.submit(fail)
        waiting = pool.submit(wait)
        with pytest.raises(ValueError, match="no parent"):
            failing.result(10)
        with pytest.raises(OthersFailed):
            waiting.result(10)
