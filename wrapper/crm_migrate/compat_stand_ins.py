"""What stands for `deals` in views of the installation that read with their owner's rights.

A view with `security_invoker` asks with the rights of whoever asks, also where another view without it reads it
(PostgreSQL, CREATE VIEW). A view of the installation that shows its readers more than they may see themselves, such as
sums for everybody, would show them less from the cutover on if it read the compatibility view. It reads a stand-in
instead, which belongs to the owner of that view, and which nobody else can reach.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from psycopg import sql

from crm_migrate import compat_objects, database
from crm_migrate.compat_views import View
from crm_migrate.database import Connection
from crm_migrate.dependants import SavedObject

_SCHEMA = "crm_compat"


class StandIns:
    """The stand-ins of one compatibility view, one for each owner, made when the first view needs it."""

    def __init__(self, connection: Connection, view: View) -> None:
        self.connection = connection
        self.view = view
        self._made: dict[str, View] = {}

    @contextmanager
    def under(self, item: SavedObject) -> Iterator[None]:
        """While a saved view is made again: the legacy name means what that view has to read.

        To be entered in a savepoint: after an error nothing is put back here.
        """
        owner = item.detail.get("reads_as")
        if owner is None:
            yield
            return
        known = self._made.get(owner)
        stand_in = known or self._create(owner)
        aside = f"{self.view.name}_0"
        self._rename(aside, away=True)
        self._rename(stand_in.called, away=False)
        yield
        self._rename(stand_in.called, away=True)
        self._rename(aside, away=False)
        # of a savepoint that was rolled back nothing stays
        self._made[owner] = stand_in

    def _create(self, owner: str) -> View:
        connection = self.connection
        view = replace(self.view, place=_SCHEMA, called=f"{self.view.name}_{len(self._made) + 1}", owner=owner)
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
            connection.execute(sql.SQL("revoke all on function {}() from public").format(function))
        if owner != database.scalar(connection, "select current_user"):
            role = sql.Identifier(owner)
            connection.execute(sql.SQL("grant usage, create on schema crm_compat to {}").format(role))
            connection.execute(sql.SQL("alter view {} owner to {}").format(view.identifier, role))
            for function in functions:
                connection.execute(sql.SQL("alter function {}() owner to {}").format(function, role))
            connection.execute(sql.SQL("revoke create on schema crm_compat from {}").format(role))
        return view

    def _rename(self, other: str, *, away: bool) -> None:
        """Give a view the legacy name, or take it from the one that has it; all other names are in a schema of ours."""
        name, other_name = sql.Identifier(self.view.name), sql.Identifier(other)
        public, own = sql.Identifier("public", self.view.name), sql.Identifier(_SCHEMA, self.view.name)
        move_out = sql.SQL("alter view {} set schema crm_compat").format(public)
        move_in = sql.SQL("alter view {} set schema public").format(own)
        if away:
            self.connection.execute(move_out)
            self.connection.execute(sql.SQL("alter view {} rename to {}").format(own, other_name))
        else:
            self.connection.execute(sql.SQL("alter view {} rename to {}").format(sql.Identifier(_SCHEMA, other), name))
            self.connection.execute(move_in)
