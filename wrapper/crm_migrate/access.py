"""Who may do what with the CRM's tables: captured before the maintenance lock, given back after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from psycopg import sql

from crm_migrate import database, paths
from crm_migrate.database import Connection

WRITES = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")
_SEQUENCE = "S"
_QUERIES = paths.SQL / "lock"


@dataclass(frozen=True)
class Grant:
    """One privilege of one grantee (never the owner) on a relation of the CRM's schema, or on one of its columns."""

    relation: str
    kind: str
    column_name: str | None
    grantee: str
    is_public: bool
    privilege: str
    grantable: bool
    by_owner: bool

    def target(self, relation: str) -> sql.Composable:
        """The part behind GRANT or REVOKE: `privilege (column) on [sequence] relation`."""
        privilege: sql.Composable = sql.SQL(self.privilege)  # a keyword of aclexplode
        if self.column_name is not None:
            privilege = sql.SQL("{} ({})").format(privilege, sql.Identifier(self.column_name))
        keyword = sql.SQL("sequence ") if self.kind == _SEQUENCE else sql.SQL("")
        return sql.SQL("{} on {}{}").format(privilege, keyword, sql.Identifier("public", relation))

    @property
    def role(self) -> sql.Composable:
        """The grantee; regrole has quoted its name where that is needed."""
        return sql.SQL("public") if self.is_public else sql.SQL(self.grantee)


@dataclass(frozen=True)
class TriggerState:
    """Whether a trigger of the installation fires: O, D, R or A as in pg_trigger.tgenabled."""

    relation: str
    name: str
    enabled: str


@dataclass(frozen=True)
class LoginRole:
    """A role through which an application connects and may write."""

    name: str
    can_login: bool
    connection_limit: int


@dataclass(frozen=True)
class Reach:
    """What this session may do to keep a login role out."""

    shut_out: bool
    end_sessions: bool


@dataclass(frozen=True)
class AccessState:
    """Grants, trigger states and login roles at one moment."""

    grants: tuple[Grant, ...]
    triggers: tuple[TriggerState, ...]
    logins: tuple[LoginRole, ...]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> AccessState:
        """Read what `as_json` wrote."""
        return cls(
            tuple(Grant(**item) for item in document["grants"]),
            tuple(TriggerState(**item) for item in document["triggers"]),
            tuple(LoginRole(**item) for item in document["logins"]),
        )

    def as_json(self) -> dict[str, Any]:
        """A document for the control schema and for the backup's manifest."""
        return asdict(self)

    def grants_of(self, relation: str) -> tuple[Grant, ...]:
        """The grants of one relation and its columns."""
        return tuple(grant for grant in self.grants if grant.relation == relation)


def capture(connection: Connection) -> AccessState:
    """The state as it is now; needs the control schema."""
    document = database.scalar(connection, "select crm_migration.capture_access()")
    return AccessState.from_json(document | {"logins": [asdict(login) for login in login_roles(connection)]})


def login_roles(connection: Connection) -> tuple[LoginRole, ...]:
    """The roles through which an application connects and may write, by name; needs no control schema."""
    found = connection.execute((_QUERIES / "login_roles.sql").read_bytes()).fetchall()
    return tuple(LoginRole(*row) for row in found)


def reach(connection: Connection, roles: Iterable[LoginRole]) -> dict[str, Reach]:
    """How far this session reaches, for each of the roles that is still there."""
    names = [role.name for role in roles]
    found = connection.execute((_QUERIES / "reach.sql").read_bytes(), {"names": names}).fetchall()
    return {name: Reach(shut_out, end_sessions) for name, shut_out, end_sessions in found}


def revoke_writes(connection: Connection, state: AccessState) -> int:
    """Take the write privileges from everybody but the owners; returns how many were taken.

    Relations on which somebody other than the owner has granted something are left alone: such grants could not be
    given back in that grantor's name. The fence refuses those writers.
    """
    regranted = {grant.relation for grant in state.grants if not grant.by_owner}
    taken = 0
    for grant in state.grants:
        if grant.privilege in WRITES and grant.kind != _SEQUENCE and grant.relation not in regranted:
            connection.execute(sql.SQL("revoke {} from {}").format(grant.target(grant.relation), grant.role))
            taken += 1
    return taken


def give_back(connection: Connection, state: AccessState, relations: Iterable[str] | None = None) -> int:
    """Grant again what the state holds and the catalog does not, on relations that (still) have these names.

    After the cutover these names are the successors and the compatibility views. Returns how many were given.
    """
    wanted = set(state.grants) if relations is None else {g for g in state.grants if g.relation in set(relations)}
    now = {_key(grant) for grant in capture(connection).grants}
    present = {
        row[0]
        for row in connection.execute(
            "select relname::text from pg_catalog.pg_class where relnamespace = 'public'::regnamespace"
        )
    }
    given = 0
    for grant in sorted(wanted, key=_key):
        if grant.relation in present and _key(grant) not in now:
            grant_to(connection, grant, grant.relation)
            given += 1
    return given


def grant_to(connection: Connection, grant: Grant, relation: str) -> None:
    """Give the privilege of `grant` on `relation`, which may be a successor of the one it was taken from."""
    option = sql.SQL(" with grant option" if grant.grantable else "")
    connection.execute(sql.SQL("grant {} to {}{}").format(grant.target(relation), grant.role, option))


def _key(grant: Grant) -> tuple[str, str, str, str, bool]:
    return (grant.relation, grant.column_name or "", grant.grantee, grant.privilege, grant.grantable)
