"""What breaks on purpose. Each test asserts that its fault really happened, and asks an oracle afterwards.

A test says which fault of the table it tries:

    @pytest.mark.fault(number=8)
    def test_a_lock_of_somebody_else_is_named(...): ...

Its outcome is one try of fault 8, survived when it passes. `name="..."` gives the row another name, or a row of its own
to what has no number: `@pytest.mark.fault(name="any database")`. A test that tries its fault many times counts them:

    @pytest.mark.fault(number=12)
    def test_any_row(tally: Tally, ...):
        for row in rows:
            tally.tried()
            ...
            tally.survived()

`make test` tries a sample, `make faults` everything that is marked, and prints the table (also in
`.crm-faults/table.txt`): `fault_table.whole()` says which of the two it is. Choose parameters by it, so that the cases
that are left out are not collected at all; nothing is skipped.
"""

from __future__ import annotations

import pytest

from crm_migrate.server import EmbeddedServer
from faults.sweep import Sweep


@pytest.fixture(scope="session")
def swept(postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The scenarios on the server of this test run."""
    return Sweep(postgres, tmp_path_factory.mktemp("sweep"))
