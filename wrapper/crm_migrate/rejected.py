"""Rejected rows: what the new tables could not hold, as findings."""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql

from crm_migrate import database, gates
from crm_migrate.database import Connection

# the entity that a rejected row of a model belongs to, and the columns of its source row that may hold the entity's key
_REJECTED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "opportunities": ("deals", ("deal_id",)),
    "opportunity_participants": ("deals", ("deal_id", "opportunity_id")),
    "opportunity_products": ("deals", ("deal_id", "opportunity_id")),
    "contact_organizations": ("contacts", ("contact_id",)),
    "contact_preferred_principals": ("contacts", ("contact_id",)),
    "activities": ("tasks", ("task_id", "legacy_task_id")),
    "interaction_participants": ("tasks", ("task_id", "legacy_task_id")),
    "company_classifications": ("companies", ("company_id",)),
    "products": ("companies", ("principal_organization_id",)),
    "principal_distributor_relationships": ("companies", ("principal_organization_id",)),
}
# rejected rows that are more than a row of their own: a company or a contact itself
_WHOLE_ENTITY = frozenset({"company_classifications"})


def record(connection: Connection, run_id: str) -> None:
    """Turn the rejected rows of the build into findings, so that they are counted and shown like all others."""
    for table in ("findings", "finding_rows"):
        connection.execute(
            sql.SQL("delete from {} where run_id = %s and gate = 'build'").format(
                sql.Identifier("crm_migration", table)
            ),
            [run_id],
        )
    if not database.exists(connection, "crm_migration.rejected_records"):
        return
    models = database.rows(
        connection,
        "select model, count(*) as rows, min(message) as message from crm_migration.rejected_records"
        " where run_id = %s group by model order by model",
        [run_id],
    )
    for model in models:
        entity, keys = _REJECTED.get(model["model"], ("deals", ()))
        code = f"{entity}.rejected_{model['model']}"
        _keep_rows(connection, run_id, model["model"], entity, code, keys)
        whole = model["model"] in _WHOLE_ENTITY
        _keep_finding(
            connection,
            run_id,
            code,
            entity,
            "blocker" if whole else "rejected",
            rows=model["rows"],
            message=f"{model['model']} cannot hold these rows: {model['message']}.",
            hint="They are kept whole in crm_migration.rejected_records, each with its reason.",
        )
    _record_referenced(connection, run_id)


def _keep_rows(connection: Connection, run_id: str, model: str, entity: str, code: str, keys: tuple[str, ...]) -> None:
    connection.execute(
        """
        insert into crm_migration.finding_rows (run_id, gate, code, entity, severity, row_key)
        select distinct run_id, 'build', %(code)s, %(entity)s, 'rejected', coalesce(
            (
                select source_row ->> named.column_name
                from unnest(%(keys)s::text[]) with ordinality as named (column_name, position)
                where source_row ->> named.column_name is not null
                order by named.position
                limit 1
            ),
            key_value::text
        )
        from crm_migration.rejected_records
        where run_id = %(run)s and model = %(model)s
        """,
        {"run": run_id, "model": model, "entity": entity, "code": code, "keys": list(keys)},
    )


def _keep_finding(
    connection: Connection,
    run_id: str,
    code: str,
    entity: str,
    severity: str,
    *,
    rows: int,
    message: str,
    hint: str,
    keys: list[str] | None = None,
) -> None:
    sample = gates.sample_keys(connection, run_id, "build", code) if keys is None else keys
    connection.execute(
        "insert into crm_migration.findings"
        " (run_id, gate, check_id, code, entity, severity, rows, sample_keys, message, hint)"
        " values (%s, 'build', 'build', %s, %s, %s, %s, to_jsonb(%s::text[]), %s, %s)",
        [run_id, code, entity, severity, rows, list(sample), message, hint],
    )


def _record_referenced(connection: Connection, run_id: str) -> None:
    """A rejected deal that another table refers to would break that table's foreign key: a blocker."""
    refused = [
        row[0]
        for row in connection.execute(
            "select key_value from crm_migration.rejected_records where run_id = %s and model = 'opportunities'",
            [run_id],
        )
    ]
    if not refused:
        return
    references = database.rows(
        connection,
        """
        select namespace.nspname as schema, source.relname as name, attribute.attname as column
        from pg_catalog.pg_constraint as key
        inner join pg_catalog.pg_class as source on source.oid = key.conrelid
        inner join pg_catalog.pg_namespace as namespace on namespace.oid = source.relnamespace
        inner join pg_catalog.pg_attribute as attribute
            on attribute.attrelid = key.conrelid and attribute.attnum = key.conkey[1]
        where key.contype = 'f' and key.confrelid = to_regclass('public.deals') and cardinality(key.conkey) = 1
        order by 1, 2, 3
        """,
    )
    for reference in references:
        table = database.beside_parameters(reference["schema"], reference["name"])
        column = database.beside_parameters(reference["column"])
        keys = [
            str(row[0])
            for row in connection.execute(
                sql.SQL("select distinct {column} from {table} where {column} = any(%s) order by 1").format(
                    column=column, table=table
                ),
                [refused],
            )
        ]
        if keys:
            _keep_finding(
                connection,
                run_id,
                f"deals.rejected_but_used_by_{reference['name']}",
                "deals",
                "blocker",
                rows=len(keys),
                message=f"The new table refuses deals that {reference['name']} refers to.",
                hint="crm_migration.rejected_records says why each was refused; correct the deals.",
                keys=keys[: gates.SAMPLE_KEYS],
            )
