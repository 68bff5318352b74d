"""What the built tables need before they are published: numbers, indexes, keys, row level security.

It is all done in the build schema; no legacy table is touched.

The files of `sql/prepare/` are run in the order of their numbers. What a file of `SIDE_BY_SIDE` says does not depend on
the order of its statements, so these are run on several connections, whatever takes longest first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from psycopg import sql

from crm_migrate import database, fault_points, parallel, paths
from crm_migrate.database import Connection
from crm_migrate.settings import Settings

STAGES = ("prepare/stage_1", "prepare/stage_1_5")
MOVING = "prepare/moving"
SIDE_BY_SIDE = ("20_indexes", "31_valid_keys", "60_analyze")

_TABLE = re.compile(r"\b(?:on|alter table|analyze) (crm_build\.\w+)")
# for the same rows these take so many times as long as a btree
_SLOW = re.compile(r"\busing (gin|spgist)\b")
_SLOWER = 4


def run(connection: Connection, settings: Settings, *, moving: bool) -> None:
    """Prepare the build schema; what is there already is left alone.

    Args:
        moving: people work meanwhile, so that rows may refer to others that were deleted between two models.
    """
    if moving:
        database.run_sql_folder(connection, MOVING)
    files = [path for stage in STAGES for path in (paths.SQL / stage).glob("*.sql")]
    for stem in sorted({path.stem for path in files}):
        same = sorted(path for path in files if path.stem == stem)
        if stem in SIDE_BY_SIDE:
            side_by_side(connection, settings, [text for path in same for text in statements(path)])
        for path in same:
            if stem not in SIDE_BY_SIDE:
                database.run_sql_file(connection, path)
            fault_points.reached(f"sql.{path.relative_to(paths.SQL).with_suffix('')}")


def statements(path: Path) -> list[str]:
    """The statements of a file whose every statement ends a line."""
    text = re.sub(r"^\s*--.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [part.strip() for part in re.split(r";\s*$", text, flags=re.MULTILINE) if part.strip()]


def side_by_side(connection: Connection, settings: Settings, texts: Sequence[str]) -> None:
    """Run statements about tables of the build schema on several connections, the largest first."""
    sizes = {
        table: database.scalar(connection, "select pg_catalog.pg_relation_size(%s::regclass)", [table])
        for table in {_table(text) for text in texts}
    }
    parallel.run(
        settings,
        [_piece(text) for text in sorted(texts, key=lambda text: -sizes[_table(text)] * _times(text))],
        database_name=connection.info.dbname,
        session={"maintenance_work_mem": _memory(connection)},
        application="crm-migrate prepare",
    )


def _piece(text: str) -> Callable[[Connection], None]:
    # one simple query, so one transaction. The session of a killed run may still be at it: wait, and then find it done
    lock = sql.SQL("select pg_advisory_xact_lock(hashtextextended({}, 0));\n").format(sql.Literal(text))

    def do(connection: Connection) -> None:
        connection.execute(lock.as_bytes(connection) + text.encode())  # the text of a file of the project

    return do


def _table(text: str) -> str:
    found = _TABLE.search(text)
    if found is None:
        raise ValueError(f"not about a table of the build schema: {text}")
    return found[1]


def _times(text: str) -> int:
    return _SLOWER if _SLOW.search(text) else 1


def _memory(connection: Connection) -> str:
    """`maintenance_work_mem`: a quarter of what the server shares, from 64 MB to 512 MB, never less than its own."""
    return str(
        database.scalar(
            connection,
            """
            select greatest(
                least(
                    pg_catalog.pg_size_bytes(current_setting('shared_buffers')) / 4,
                    pg_catalog.pg_size_bytes('512MB')
                ),
                pg_catalog.pg_size_bytes('64MB'),
                pg_catalog.pg_size_bytes(current_setting('maintenance_work_mem'))
            ) / 1024 || 'kB'
            """,
        )
    )
