"""O7, at most one notice per person and event: it holds, and it fails when somebody sabotages the outbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from crm_migrate import oracles
from crm_migrate.legacy import LegacySchema
from crm_migrate.notices import outbox
from crm_migrate.notices.outbox import Due
from crm_migrate.notices.recipients import Person
from crm_migrate.oracles.notices import NOTICES
from crm_migrate.oracles.oracle import OracleResult
from crm_migrate.settings import Settings

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

PEOPLE = [Person("ann@example.com", "Ann"), Person("bob@example.com", "Bob")]


def ask(connection: Connection, settings: Settings) -> OracleResult:
    assert NOTICES in oracles.ORACLES, "verify asks it"
    return oracles.ask(connection, settings, "r1", LegacySchema.__new__(LegacySchema), asked=[NOTICES])[0]


def test_without_an_outbox_there_is_nothing_to_ask(database: Connection, make_settings: MakeSettings) -> None:
    assert ask(database, make_settings(database)).ok is None


@pytest.mark.parametrize(
    "sabotage",
    [
        (
            "insert into crm_migration.notices (event, subject, person, recipient, name, message_id)"
            " select event, subject, person, recipient, name, 'another' from crm_migration.notices limit 1"
        ),
        (
            "insert into crm_migration.notices (event, subject, person, recipient, name, message_id)"
            " values ('started', 'r1', 'ANN', 'ANN@Example.com', '', 'another')"
        ),
        "update crm_migration.notices set message_id = 'the same'",
    ],
)
def test_notice_that_is_written_twice_is_found(users: Connection, make_settings: MakeSettings, sabotage: str) -> None:
    settings = make_settings(users)
    for event in ("started", "completed"):
        assert outbox.queue(users, Due(event, "r1"), PEOPLE, "example.com") == 2
        assert outbox.queue(users, Due(event, "r1"), PEOPLE, "example.com") == 0
    good = ask(users, settings)
    assert (good.ok, good.checked_rows, good.differences) == (True, 4, 0)
    users.execute(
        "alter table crm_migration.notices drop constraint notices_event_subject_person_key,"
        " drop constraint notices_message_id_key"
    )
    users.execute(sabotage)
    bad = ask(users, settings)
    assert bad.ok is False
    assert bad.differences == 1
    assert "ann@" not in bad.message.lower()
