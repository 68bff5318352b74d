"""Databases that are no legacy CRM: the doctor says so, calmly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from crm_migrate import doctor
from crm_migrate.errors import Exit
from crm_migrate.settings import Settings

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def generation(connection: Connection, settings: Settings) -> tuple[doctor.Examination, str]:
    found = doctor.examine(connection, settings)
    return found, next(check.message for check in found.checks if check.id == "generation" and not check.ok)


def test_an_empty_database(database: Connection, make_settings: MakeSettings) -> None:
    found, message = generation(database, make_settings(database))
    assert "no table" in message
    assert found.generation is None
    assert found.exit_code == Exit.NO_GO


def test_the_database_of_another_application(database: Connection, make_settings: MakeSettings) -> None:
    database.execute("create table public.pets (id bigint primary key)")
    _, message = generation(database, make_settings(database))
    assert "does not hold an Atomic CRM" in message


@pytest.mark.parametrize(
    "statement", ["alter table public.deals drop column stage cascade", "drop table tasks cascade"]
)
def test_a_crm_that_somebody_changed(legacy_2026: Connection, make_settings: MakeSettings, statement: str) -> None:
    legacy_2026.execute("set search_path = public")
    legacy_2026.execute(statement)
    legacy_2026.execute("set search_path = ''")
    _, message = generation(legacy_2026, make_settings(legacy_2026))
    assert "missing" in message


def test_a_migrated_database(migrated_2026: Connection, make_settings: MakeSettings) -> None:
    _, message = generation(migrated_2026, make_settings(migrated_2026))
    assert "migrated already" in message
