"""O4: amounts, rows per stage, lengths of lists and numbers of links add up to what they were."""

from __future__ import annotations

from functools import partial

from psycopg import sql

from crm_migrate import changed, database, pairs, paths
from crm_migrate.database import Connection
from crm_migrate.legacy import LegacySchema
from crm_migrate.oracles.comparison import Comparisons
from crm_migrate.oracles.oracle import Oracle, Part, Tally, text
from crm_migrate.settings import Settings


def _sums(
    connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema, comparisons: Comparisons
) -> list[Part]:
    del comparisons
    people = {
        name: sorted(changed.keys(connection, run_id, name).keys)
        for name in ("opportunities", "companies", "contacts", "activities", "tasks", "opportunity_notes")
    }
    people["contact_notes"] = sorted(changed.keys(connection, run_id, legacy.table("contact_notes")).keys)
    links = changed.keys(connection, run_id, "contact_organizations")
    participants = changed.keys(connection, run_id, "opportunity_participants")
    values = {
        "opportunities": pairs.successor(settings, "opportunities"),
        "links": pairs.successor(settings, "contact_organizations"),
        "participants": pairs.successor(settings, "opportunity_participants"),
        "activities": pairs.successor(settings, "activities"),
        "deal_notes": sql.Identifier("crm_archive", legacy.table("deal_notes")),
        "contact_notes": sql.Identifier("crm_archive", legacy.table("contact_notes")),
        "live_contact_notes": sql.Identifier("public", legacy.table("contact_notes")),
        "run": sql.Literal(run_id),
        "changed_links": sql.Literal(sorted(links.keys)),
        "replaced_links": sql.Literal(len(links.replaced)),
        "changed_participants": sql.Literal(sorted(participants.keys)),
        "replaced_participants": sql.Literal(sorted(participants.replaced)),
        **{f"changed_{table}": sql.Literal(keys) for table, keys in people.items()},
    }
    files = sorted((paths.SQL / "oracles").glob("conservation_*.sql"))
    everybodys = Tally(changed=len({key for keys in people.values() for key in keys}))
    return [
        Part(lambda _: everybodys),
        *(
            Part(
                partial(_sum_of, file.stem, sql.SQL(text(file.stem)).format(**values)),
                sql.Identifier("crm_archive", "contacts" if "contact" in file.stem else "deals"),
            )
            for file in files
        ),
    ]


def _sum_of(stem: str, query: sql.Composed, connection: Connection) -> Tally:
    name = stem.removeprefix("conservation_").replace("_", " ")
    rows = database.rows(connection, query)
    tally = Tally()
    tally.add(
        sum(int(row["rows"]) for row in rows),
        (
            f"{name} {row['part'] or ''}: {row['before']} before, {row['after']} after".replace(" :", ":")
            for row in rows
            if row["before"] != row["after"]
        ),
    )
    return tally


CONSERVATION = Oracle("O4", "Amounts, stages, lists and links add up to what they were.", "Sums differ", _sums)
