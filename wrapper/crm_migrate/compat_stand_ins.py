"""What stands for `deals` and their notes in views of the installation that read with their owner's rights.

A view with `security_invoker` asks with the rights of whoever asks, also where another view without it reads it
(PostgreSQL, CREATE VIEW). A view of the installation that shows its readers more than they may see themselves, such as
sums for everybody, would show them less from the cutover on if it read the compatibility view. It reads a stand-in
instead, which belongs to the owner of that view, and which nobody else can reach.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from psycopg import sql

from crm_migrate import compat_objects, database
from crm_migrate.compat_views import View
from crm_migrate.database import Connection
from crm_migrate.dependants import SavedObject

_SCHEMA = "crm_compat"


class StandIns:
    """The stand-ins of the compatibility views, of each one for each owner, made when the first view needs them."""

    def __init__(self, connection: Connection, views: Sequence[View]) -> None:
        self.connection = connection
        self.views = views
        self._made: dict[str, list[View]] = {}

    @contextmanager
    def under(self, item: SavedObject) -> Iterator[None]:
        """While a saved view is made again: the legacy names mean what that view has to read.

        To be entered in a savepoint: after an error nothing is put back here.
        """
        owner = item.detail.get("reads_as")
        if owner is None:
            yield
            return
        stand_ins = self._made.get(owner) or [self._create(view, owner) for view in self.views]
        for stand_in in stand_ins:
            self._take_away(stand_in.name, f"{stand_in.name}_0")
            self._give(stand_in.name, stand_in.called)
        yield
        for stand_in in stand_ins:
            self._take_away(stand_in.name, stand_in.called)
            self._give(stand_in.name, f"{stand_in.name}_0")
        # of a savepoint that was rolled back nothing stays
        self._made[owner] = stand_ins

    def _create(self, original: View, owner: str) -> View:
        connection = self.connection
        view = replace(original, place=_SCHEMA, called=f"{original.name}_{len(self._made) + 1}", owner=owner)
        compat_objects.create(connection, view)
        connection.execute(
            sql.SQL("comment on view {} is {}").format(
                view.identifier,
                sql.Literal(f"Stands for {view.name} in views that read with the rights of {owner}."),
            )
        )
        functions = [view.function(operation) for operation in compat_objects.OPERATIONS]
        connection.execute("select crm_migration.revoke_all(%s::regclass)", [view.identifier.as_string(None)])
        for function in functions:
            connection.execute("select crm_migration.revoke_calls(%s::regprocedure)", [f"{function.as_string(None)}()"])
        if owner != database.scalar(connection, "select current_user"):
            role = sql.Identifier(owner)
            connection.execute(sql.SQL("grant usage, create on schema crm_compat to {}").format(role))
            connection.execute(sql.SQL("alter view {} owner to {}").format(view.identifier, role))
            for function in functions:
                connection.execute(sql.SQL("alter function {}() owner to {}").format(function, role))
            connection.execute(sql.SQL("revoke create on schema crm_compat from {}").format(role))
        return view

    def _take_away(self, name: str, other: str) -> None:
        """Take the legacy name from the view that has it; all other names are in a schema of ours."""
        self.connection.execute(sql.SQL("alter view {} set schema crm_compat").format(sql.Identifier("public", name)))
        self.connection.execute(
            sql.SQL("alter view {} rename to {}").format(sql.Identifier(_SCHEMA, name), sql.Identifier(other))
        )

    def _give(self, name: str, other: str) -> None:
        """Give the legacy name to a view."""
        self.connection.execute(
            sql.SQL("alter view {} rename to {}").format(sql.Identifier(_SCHEMA, other), sql.Identifier(name))
        )
        self.connection.execute(sql.SQL("alter view {} set schema public").format(sql.Identifier(_SCHEMA, name)))
