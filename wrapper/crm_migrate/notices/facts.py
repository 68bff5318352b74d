"""What the notices tell: read from the plan and from the run, in words and in people's time zone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from psycopg import sql

from crm_migrate import compat, compat_usage, database, ledger
from crm_migrate.database import Connection
from crm_migrate.errors import ConfigurationError
from crm_migrate.ledger import Run
from crm_migrate.notices.outbox import Due
from crm_migrate.reports import StageCount, count_stages
from crm_migrate.settings import Settings

# not strftime's own names: they follow the locale of this machine, the mails are English
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_STAGES = 12
_USES = 10


@dataclass(frozen=True)
class Summary:
    """What a migration made of the data."""

    deals: int
    opportunities: int
    contacts: int
    links: int
    tasks: int
    activities: int
    principals: int
    distributors: int
    relationships: int
    rejected: int


def clock(settings: Settings) -> ZoneInfo:
    """The time zone of the notices.

    Raises:
        ConfigurationError: nobody knows it.
    """
    try:
        return ZoneInfo(settings.notice_timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigurationError(
            f"The time zone {settings.notice_timezone!r} is not known.", next="notice_timezone = Europe/Zurich"
        ) from None


def gather(connection: Connection, settings: Settings, found: Due) -> dict[str, Any]:
    """The facts of a notice, by the names that its template uses."""
    zone = clock(settings)
    facts: dict[str, Any] = dict.fromkeys(
        (
            "start",
            "start_short",
            "end",
            "length",
            "minutes_left",
            "old_start",
            "since",
            "summary",
            "downtime",
            "rollback_until",
        )
    ) | {
        "of_a_run": False,
        "kept": True,
        "verified": False,
        "names_end": None,
        "names": (),
        "uses": (),
        "stages": (),
    }
    plan = _plan(connection, found)
    if plan is not None:
        facts |= _times(plan, zone)
    if found.event in ("started", "delayed", "called-off", "completed", "rolled-back", "compat-ending"):
        facts |= _run(connection, settings, found, zone)
    if found.event == "compat-ending":
        facts |= _names(connection, zone)
    return facts


def example(settings: Settings) -> dict[str, Any]:
    """Facts of a maintenance that nobody has planned, to look at a template."""
    zone = clock(settings)
    start = datetime(2026, 11, 28, 22, tzinfo=UTC)
    end = start + timedelta(minutes=90)
    uses = [{"role": "authenticated", "relation": "deals", "writes": 1204, "last": day(start, zone)}]
    return {
        "start": moment(start, zone),
        "start_short": short(start, zone),
        "end": moment(end, zone, beside=start),
        "length": length(90),
        "minutes_left": 30,
        "old_start": moment(start - timedelta(days=7), zone),
        "since": moment(start, zone),
        "of_a_run": True,
        "kept": True,
        "verified": True,
        "downtime": length(48),
        "rollback_until": moment(end + timedelta(hours=48), zone),
        "summary": Summary(2500, 2500, 5000, 5188, 2500, 2500, 12, 9, 127, 0),
        "stages": stages([StageCount("won", "closed_won", 592), StageCount("opportunity", "lead", 591)]),
        "names_end": day(start + timedelta(days=31), zone),
        "names": ("deal_notes", "deals"),
        "uses": uses[:_USES],
    }


def _plan(connection: Connection, found: Due) -> dict[str, Any] | None:
    rows = database.rows(
        connection,
        """
        select
            schedule.starts_at, schedule.minutes, clock_timestamp() as now,
            (
                select earlier.starts_at from crm_migration.schedule as earlier
                inner join crm_migration.notices on notices.subject = earlier.plan_id
                where earlier.planned_at < schedule.planned_at
                order by earlier.planned_at desc
                limit 1
            ) as told_start
        from crm_migration.schedule
        where schedule.plan_id = %(subject)s
            or (
                schedule.in_force
                and exists (
                    select from crm_migration.runs
                    where runs.run_id = %(subject)s and runs.started_at > schedule.planned_at
                )
            )
        """,
        {"subject": found.subject},
    )
    return rows[0] if rows else None


def _times(plan: Mapping[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    start: datetime = plan["starts_at"]
    end = start + timedelta(minutes=plan["minutes"])
    left = (start - plan["now"]).total_seconds() / 60
    return {
        "start": moment(start, zone),
        "start_short": short(start, zone),
        "end": moment(end, zone, beside=start),
        "length": length(plan["minutes"]),
        "minutes_left": max(1, round(left)),
        "old_start": moment(plan["told_start"], zone) if plan["told_start"] else None,
    }


def _run(connection: Connection, settings: Settings, found: Due, zone: ZoneInfo) -> dict[str, Any]:
    if not database.scalar(
        connection, "select exists (select from crm_migration.runs where run_id = %s)", [found.subject]
    ):
        return {}
    run = ledger.get(connection, found.subject)
    facts: dict[str, Any] = {"of_a_run": True, "since": moment(run.locked_at, zone) if run.locked_at else None}
    if found.event == "completed":
        # not when somebody opened it although the verification had failed
        facts["verified"] = run.verdict == "GO"
        # gone with the archive
        if database.exists(connection, "crm_archive.deals"):
            facts["summary"] = _summary(connection, settings, run)
        facts["stages"] = stages(count_stages(connection, "public", settings.rename))
        if run.locked_at and run.unlocked_at:
            facts["downtime"] = length((run.unlocked_at - run.locked_at).total_seconds() / 60)
        if run.rollback_until:
            facts["rollback_until"] = moment(run.rollback_until, zone)
    if found.event == "rolled-back":
        facts["kept"] = bool(run.summary.get("keep_changes", True))
    return facts


def _summary(connection: Connection, settings: Settings, run: Run) -> Summary:
    def table(name: str) -> sql.Identifier:
        return sql.Identifier("public", settings.rename.get(name, name))

    row = database.rows(
        connection,
        sql.SQL(
            """
            select
                (select count(*) from crm_archive.deals) as deals,
                (select count(*) from {opportunities}) as opportunities,
                (select count(*) from crm_archive.contacts) as contacts,
                (select count(*) from {links} where deleted_at is null) as links,
                (select count(*) from crm_archive.tasks) as tasks,
                (select count(*) from {activities}) as activities,
                (select count(*) from public.companies where is_principal) as principals,
                (select count(*) from public.companies where is_distributor) as distributors,
                (select count(*) from {relationships}) as relationships,
                (select count(*) from crm_migration.rejected_records where run_id = %s) as rejected
            """
        ).format(
            opportunities=table("opportunities"),
            links=table("contact_organizations"),
            activities=table("activities"),
            relationships=table("principal_distributor_relationships"),
        ),
        [run.run_id],
    )[0]
    return Summary(**row)


def _names(connection: Connection, zone: ZoneInfo) -> dict[str, Any]:
    promised = compat.promises(connection)
    used: dict[tuple[str, str], dict[str, Any]] = {}
    for usage in compat_usage.writes(connection):
        entry = used.setdefault((usage.role, usage.relation), {"writes": 0, "last": usage.last_at})
        entry["writes"] += usage.writes
        entry["last"] = max(entry["last"], usage.last_at)
    uses = [
        {"role": role, "relation": relation, "writes": entry["writes"], "last": day(entry["last"], zone)}
        for (role, relation), entry in sorted(used.items(), key=lambda item: -item[1]["writes"])
    ]
    return {
        "names_end": day(min(item.until for item in promised), zone) if promised else None,
        "names": tuple(item.relation for item in promised if item.present),
        "uses": uses[:_USES],
    }


def stages(found: list[StageCount]) -> list[tuple[str, str]]:
    """The most frequent stages before and after; of several spellings that went the same way the most frequent one."""
    told: dict[tuple[str, str], str] = {}
    for stage in found:
        spelt = (stage.legacy_stage or "").strip() or "(empty)"
        told.setdefault((spelt.casefold(), stage.stage.replace("_", " ")), spelt)
    return [(spelt, stage) for (_, stage), spelt in told.items()][:_STAGES]


def moment(at: datetime, zone: ZoneInfo, *, beside: datetime | None = None) -> str:
    """`Saturday 28 November 2026, 23:00 CET (22:00 UTC)`; only the time when it is the day of the moment beside it."""
    local, utc = at.astimezone(zone), at.astimezone(UTC)
    shown = f"{local:%H:%M} {local.tzname()}"
    if beside is None or beside.astimezone(zone).date() != local.date():
        shown = f"{_date(local)}, {shown}"
    return shown if local.utcoffset() == timedelta(0) else f"{shown} ({utc:%H:%M} UTC)"


def short(at: datetime, zone: ZoneInfo) -> str:
    """`28 November, 23:00 CET`: for a subject line."""
    local = at.astimezone(zone)
    return f"{local.day} {_MONTHS[local.month - 1]}, {local:%H:%M} {local.tzname()}"


def day(at: datetime, zone: ZoneInfo) -> str:
    """`Saturday 28 November 2026`."""
    return _date(at.astimezone(zone))


def _date(local: datetime) -> str:
    return f"{_WEEKDAYS[local.weekday()]} {local.day} {_MONTHS[local.month - 1]} {local.year}"


def length(minutes: float) -> str:
    """`45 minutes`, `2 hours`, `1 hour 30 minutes`."""
    whole = max(1, round(minutes))
    hours, rest = divmod(whole, 60)
    parts = [f"{hours} hour{'s' * (hours != 1)}" if hours else "", f"{rest} minute{'s' * (rest != 1)}" if rest else ""]
    return " ".join(part for part in parts if part)
