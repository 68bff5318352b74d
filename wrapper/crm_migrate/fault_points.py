"""Named places where a test may kill the process; they do nothing else."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

KILL_AT = "CRM_MIGRATE_KILL_AT"
KILL_WITH = "CRM_MIGRATE_KILL_WITH"
TRACE = "CRM_MIGRATE_FAULT_TRACE"

_times: Counter[str] = Counter()
_counting = threading.Lock()


def reached(point: str) -> None:
    """Die here by SIGKILL (or by another signal) when the environment says so; append the name to a file when asked to.

    A place that is passed again has the name `point#2`, then `point#3` and so on.
    """
    trace, kill_at = os.environ.get(TRACE), os.environ.get(KILL_AT)
    if not trace and not kill_at:
        return
    # held to the end: what two threads pass at once stands in the file in whole lines
    with _counting:
        _times[point] += 1
        name = point if _times[point] == 1 else f"{point}#{_times[point]}"
        if trace:
            with Path(trace).open("a", encoding="utf-8") as file:
                file.write(name + "\n")
        if kill_at == name:
            print(f"killed at {name}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.Signals[os.environ.get(KILL_WITH, "SIGKILL")])
