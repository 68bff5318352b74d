"""Verify a migrated database: every row by the oracles, and a sample for people to look at."""

from __future__ import annotations

from crm_migrate import archive, ledger, verification
from crm_migrate.database import Connection
from crm_migrate.errors import WrongState
from crm_migrate.legacy import LegacySchema
from crm_migrate.settings import Settings
from crm_migrate.verification import Verification


def run(connection: Connection, settings: Settings) -> Verification:
    """Check the newest migration; writes nothing.

    Raises:
        WrongState: this database is not migrated, or its archive was purged.
    """
    found = ledger.latest(connection, "apply", states=("completed", *ledger.UNFINISHED))
    if found is None or found.cutover_at is None:
        raise WrongState("This database is not migrated; there is nothing to verify.", next="crm-migrate status")
    archive.require_whole(connection, found.run_id)
    return verification.run(
        connection,
        settings,
        found.run_id,
        LegacySchema.from_json(found.summary["legacy"]),
        sample=settings.sample_size,
        seed=settings.sample_seed,
    )
