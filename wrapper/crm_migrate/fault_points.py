"""Named places where a test may kill the process; they do nothing else."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

KILL_AT = "CRM_MIGRATE_KILL_AT"
TRACE = "CRM_MIGRATE_FAULT_TRACE"


def reached(point: str) -> None:
    """Die here by SIGKILL when the environment says so; append the name to a file when asked to."""
    trace = os.environ.get(TRACE)
    if trace:
        with Path(trace).open("a", encoding="utf-8") as file:
            file.write(point + "\n")
    if os.environ.get(KILL_AT) == point:
        print(f"killed at {point}", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
