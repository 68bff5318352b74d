"""Which pictures there are: what each shows, and of which size it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crm_migrate import database
from crm_migrate.database import Connection

DESK = 1040
PAGE = 620


@dataclass(frozen=True)
class Picture:
    """A page in this window, or what selectors name: a part of it alone, or all until the end of an element.

    `path` is below the server's address.
    """

    name: str
    path: str
    width: int = DESK
    height: int = 900
    part: str | None = None
    until: str | None = None

    @property
    def file(self) -> str:
        """Its name in docs/pictures."""
        return f"{self.name}.png"


# by the word that the status page says at that moment
STATUS: Mapping[str, Picture] = {
    badge: Picture(f"status-{badge.lower().replace(' ', '-')}", "/", PAGE, 480, part="main")
    for badge in ("Scheduled", "In progress", "Verifying", "Completed", "Rolled back")
}


def of_migrated(connection: Connection, run_id: str, dry_run_id: str) -> Sequence[Picture]:
    """What an administrator sees after the migration, of records that have something to show."""
    contact = _one(
        connection,
        "select contact_id from public.contact_organizations group by contact_id"
        " order by count(*) desc, contact_id limit 1",
    )
    opportunity = _one(
        connection,
        "select id from public.opportunities where commission_amount > 0 and principal_organization_id is not null"
        " and distributor_organization_id is not null order by id limit 1",
    )
    principal = _one(
        connection,
        "select principal_organization_id from public.principal_distributor_relationships"
        " group by principal_organization_id order by count(*) desc, principal_organization_id limit 1",
    )
    return (
        Picture("report-dry-run", f"/reports/{dry_run_id}", until=".charts"),
        Picture("report-run", f"/reports/{run_id}", until=".charts"),
        Picture("report-run-over-time", f"/reports/{run_id}", part=".charts ~ .charts"),
        Picture("review-checklist", "/review", until=".cards >> nth=1"),
        Picture("review-opportunities", "/review/opportunities?q=coffee", height=560),
        Picture("review-opportunity", f"/review/opportunities/{opportunity}", height=1250),
        Picture("review-commission", f"/review/opportunities/{opportunity}", part=".facts"),
        Picture("review-contact", f"/review/contacts/{contact}", until=".facts"),
        Picture("review-organization", f"/review/organizations/{principal}", height=760),
    )


def _one(connection: Connection, query: str) -> int:
    return int(database.scalar(connection, query))
