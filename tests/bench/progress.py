"""What is being measured right now, for whoever waits: on stderr, so that the tables stand alone."""

from __future__ import annotations

import sys
import time


def done(what: str, began: float) -> None:
    """Say that something is over, and for how long it took.

    Args:
        what: was done.
        began: by `time.perf_counter()`.
    """
    print(f"{time.strftime('%H:%M:%S')} {what}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
