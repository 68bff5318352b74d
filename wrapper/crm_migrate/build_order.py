"""The order in which dbt takes what can be built: first what the longest chain of models waits for.

dbt goes level by level: whatever is as far from the sources is built before anything that is further. What ends a long
chain then comes last, alone, while the other connections have nothing to do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from graphlib import TopologicalSorter
from typing import Any


def chains(parents: Mapping[str, Collection[str]]) -> dict[str, int]:
    """How many nodes the longest chain has that begins with each node, itself included.

    Args:
        parents: of each node.
    """
    in_order = tuple(TopologicalSorter(parents).static_order())
    lengths = dict.fromkeys(in_order, 1)
    for node in reversed(in_order):
        for parent in parents.get(node, ()):
            lengths[parent] = max(lengths[parent], lengths[node] + 1)
    return lengths


def install(threads: int) -> None:
    """Have dbt take what it builds in this order, and no more of it than it has threads.

    It hands out whatever can be built at once, and what it has handed out waits in the order in which it was.
    """
    from dbt.graph import selector
    from dbt.graph.queue import GraphQueue

    class ChainsFirst(GraphQueue):  # type: ignore[misc]  # dbt has no types
        def _get_scores(self, graph: Any) -> dict[str, int]:
            # the lowest is taken first, and of the same ones the first name
            return {node: -length for node, length in chains({node: [*graph.pred[node]] for node in graph}).items()}

        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            with self.lock:
                while len(self.in_progress) >= threads:
                    self.some_task_done.wait()
            return super().get(block, timeout)

    selector.GraphQueue = ChainsFirst
