"""Settings: precedence, origins, clear refusals, and no secret anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from crm_migrate import settings
from crm_migrate.errors import ConfigurationError, Exit


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("batch_size = 10\nthreshold_percent = 2\nsample_size = 7\n")
    environ = {"CRM_MIGRATE_BATCH_SIZE": "20", "CRM_MIGRATE_THRESHOLD_PERCENT": "3"}

    loaded = settings.load(file, environ, batch_size=30)

    assert (loaded.settings.batch_size, loaded.origins["batch_size"]) == (30, "flag")
    assert (loaded.settings.threshold_percent, loaded.origins["threshold_percent"]) == (
        3.0,
        "CRM_MIGRATE_THRESHOLD_PERCENT",
    )
    assert (loaded.settings.sample_size, loaded.origins["sample_size"]) == (7, str(file))
    assert loaded.origins["archive_days"] == "default"


def test_dsn_flag_beats_database_url() -> None:
    environ = {"DATABASE_URL": "postgresql://a@one/crm"}
    assert settings.load(None, environ).origins["dsn"] == "DATABASE_URL"
    assert settings.load(None, environ, dsn="postgresql://b@two/crm").settings.conninfo["host"] == "two"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("batch_sise = 1", "batch_sise"),
        ("batch_size = 'many'", "batch_size"),
        ("batch_size = true", "batch_size"),
        ('fallback_stage = "won\'; drop table deals; --"', "fallback_stage"),
        ("rename = 'activities'", "rename"),
        ("rename = {activities = '100%s'}", "100%s"),
        ("batch_size = ", "own.toml"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        settings.load(file, {})
    assert named in refused.value.what
    assert refused.value.exit_code == Exit.USAGE


def test_tables_may_be_given_in_the_environment() -> None:
    loaded = settings.load(None, {"CRM_MIGRATE_RENAME": '{activities = "crm_activities"}'})
    assert loaded.settings.rename == {"activities": "crm_activities"}


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://ann:s3cret-m4rker@host:5432/crm?sslpassword=s3cret-m4rker",
        "host=h user=ann password='s3cret-m4rker' dbname=crm",
    ],
)
def test_the_password_is_shown_nowhere(dsn: str) -> None:
    loaded = settings.load(None, {"DATABASE_URL": dsn})
    assert "s3cret-m4rker" not in repr(loaded.settings.public())
    assert "s3cret-m4rker" not in repr(settings.describe(loaded))


def test_an_unreadable_connection_string_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings.load(None, {"DATABASE_URL": "postgresql://ann:s3cret-m4rker@[broken"})
    assert "s3cret-m4rker" not in repr(refused.value.as_dict())


def test_place_and_connection_do_not_change_the_fingerprint(tmp_path: Path) -> None:
    plain = settings.Settings()
    assert settings.Settings(dsn="dbname=other", work_dir=tmp_path).fingerprint == plain.fingerprint
    assert settings.Settings(batch_size=1).fingerprint != plain.fingerprint
    assert settings.Settings(triggers={"deal_won": "drop"}).fingerprint != plain.fingerprint
