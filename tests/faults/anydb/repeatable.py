"""The same examples in every process, so that what one run finds another one finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import hypothesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants


def always_the_same(
    strategy: st.SearchStrategy[Any], *, seed: int, examples: int
) -> Callable[[Callable[[Any], None]], Callable[[], None]]:
    """Try a function with examples that the seed alone decides.

    Hypothesis mixes the constants of all loaded modules into what it draws (since 6.131), and which ones are loaded
    depends on the tests that ran before in the same process. It has no setting for that, hence the reach into it.
    """

    def wrap(function: Callable[[Any], None]) -> Callable[[], None]:
        tried = hypothesis.seed(seed)(
            hypothesis.settings(
                max_examples=examples,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                # to make one smaller takes as long as all of them
                phases=[Phase.generate],
            )(given(strategy)(function))
        )

        def run() -> None:
            none = Constants()
            providers.CONSTANTS_CACHE.cache.clear()
            with mock.patch.object(providers.HypothesisProvider, "_local_constants", none):
                tried()

        return run

    return wrap
