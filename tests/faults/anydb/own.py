"""An addition of an installation, and what there is of it so far while it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hypothesis import strategies as st

from faults.anydb import values as v
from faults.anydb.rows import Rows

NAMES = (
    "priority",
    "Upper",
    "with space",
    'quo"te',
    "apo'strophe",
    "semi;colon--",
    "select",
    "a.b",
    "a on b to c",
    "%s%(x)s{0}{{ y }}",
    "back\\slash",
    "new\nline",
    "$1",
    "名前🦊",
    "x" * 63,
    "é" * 31,
    # words that the program's own statements use
    "content",
    "target",
    "source",
    "key",
    "base",
    "legacy",
    "successor",
    "model",
    "carried",
    "changed",
    "changes",
    "given",
    "row_key",
    "old_rows",
    "new",
    "position",
    "kept",
    "parent",
    "contact_id",
    "opportunity",
)
# columns of opportunities that mean something else there, or are empty there
COLLIDING = (
    "status",
    "priority",
    "probability",
    "next_action",
    "next_action_date",
    "competition",
    "decision_criteria",
    "legacy_stage",
    "deleted_at",
    "stage_manual",
    "status_manual",
    "legacy_attributes",
    "commission_percent",
    "commission_amount",
    "customer_organization_id",
    "principal_organization_id",
    "estimated_close_date",
    "actual_close_date",
    "opportunity_id",
)


def q(name: str) -> str:
    """A quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def lit(value: v.Value) -> str:
    """A quoted literal."""
    if value is None:
        return "null"
    return "E'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


@dataclass(frozen=True)
class Addition:
    """One thing of the installation."""

    kind: str
    statements: tuple[str, ...]
    blockers: frozenset[str] = frozenset()
    triggers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Own:
    """What there is so far while an installation is drawn: names are used once, later additions use earlier ones."""

    generation: str
    rows: Rows
    used: set[str] = field(default_factory=set)
    # columns that the installation added to deals, by name: the type
    columns: dict[str, str] = field(default_factory=dict)
    views: list[str] = field(default_factory=list)
    # what stands on deals needs to know of it
    with_primary_key: bool = False

    @property
    def notes(self) -> str:
        """The deal notes' table."""
        return 'public."dealNotes"' if self.generation == "2025" else "public.deal_notes"

    def ids(self, table: str) -> list[str]:
        """The keys of a table's rows."""
        return [str(row["id"]) for row in self.rows.of.get(table, ())]


Maker = Callable[[st.DrawFn, Own], Addition]


def name(draw: st.DrawFn, own: Own, *more: str) -> str:
    """A name that nothing has yet."""
    free = [candidate for candidate in (*more, *NAMES) if candidate not in own.used]
    found: str = draw(st.sampled_from(free))
    own.used.add(found)
    return found
