"""Settings: what can be set, where each value came from, and nothing else.

Precedence: flag, then `CRM_MIGRATE_*` in the environment, then `crm-migrate.toml`, then the default.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from crm_migrate import paths, redaction
from crm_migrate.errors import ConfigurationError
from crm_migrate.seed_files import STAGES

PREFIX = "CRM_MIGRATE_"
FILE = "crm-migrate.toml"

# Connection, place, patience and look do not change what a run does to the data: they stay out of the fingerprint.
_NOT_FINGERPRINTED = frozenset(
    {
        "connect_timeout",
        "lock_timeout",
        "rehearsal_lock_timeout",
        "rehearsal_max_seconds",
        "statement_timeout",
        "recovery_timeout",
        "network_timeout",
        "reconnect_attempts",
        "dsn",
        "work_dir",
        "backup_dir",
        "seeds_dir",
        "log_file",
        "dry_run_max_age_hours",
        "heartbeat_seconds",
        "shut_out_logins",
        "compat_quiet_days",
    }
)
# so do the mails: their settings begin with one of these
_OF_NOTICES = ("crm_name", "mail_", "notice_", "smtp_", "status_url", "whats_new_url")

_BOOLEANS = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}


def _setting(default: Any, help: str, **kwargs: Any) -> Any:
    return field(default=default, metadata={"help": help}, **kwargs)


@dataclass(frozen=True)
class Settings:
    """Every value the program can be told. Times are seconds unless the name says otherwise."""

    dsn: str = _setting("", "libpq connection string or URL; empty: libpq's own variables, service and password file")
    work_dir: Path = _setting(Path(".crm-migrate"), "folder for logs, dbt's artefacts and exports")
    backup_dir: Path = _setting(Path(".crm-migrate/backups"), "folder of the backups")
    seeds_dir: Path = _setting(paths.SEEDS, "folder of the mapping CSVs")
    log_file: Path = _setting(Path(".crm-migrate/migration.log"), "JSON lines, mode 0600")
    schema: str = _setting("public", "schema of the CRM")
    threshold_percent: float = _setting(1.0, "an entity with this share of warned or rejected rows is a NO-GO")
    dry_run_max_age_hours: float = _setting(24.0, "how old the passed dry run may be when `apply` starts")
    batch_size: int = _setting(50_000, "rows of a batch")
    rollback_hours: float = _setting(48.0, "how long `rollback` is open after the cutover")
    archive_days: int = _setting(90, "how long the archive schema is kept")
    compat_days: int = _setting(31, "how long the compatibility views are promised")
    compat_quiet_days: int = _setting(7, "days without a write through them before `compat drop` is content")
    sample_size: int = _setting(100, "records compared side by side by `verify`")
    sample_seed: int = _setting(1, "seed of that sample")
    fallback_stage: str = _setting("lead", "stage of a deal whose legacy stage has no mapping")
    default_commission_percent: float = _setting(15.0, "commission of a relationship that names none")
    connect_timeout: int = _setting(10, "waiting for a connection")
    lock_timeout: float = _setting(10.0, "waiting for a table lock under the maintenance lock")
    rehearsal_lock_timeout: float = _setting(2.0, "waiting for a table lock on the live database")
    rehearsal_max_seconds: float = _setting(2.0, "holding table locks on the live database")
    statement_timeout: float = _setting(0.0, "of any single statement; 0 is no limit")
    recovery_timeout: float = _setting(120.0, "waiting for a server that starts up or recovers")
    network_timeout: float = _setting(60.0, "without any answer from the server until it is given up; 0 waits for ever")
    reconnect_attempts: int = _setting(3, "how often a run goes on by itself after a lost connection or a deadlock")
    buffer_percent: float = _setting(50.0, "added to the estimate of the downtime")
    heartbeat_seconds: float = _setting(1.0, "between two samples of the machine's load")
    shut_out_logins: bool = _setting(True, "the lock also takes the login from the application's roles")
    rename: Mapping[str, str] = _setting(None, "new tables whose names are taken, and what they are called instead")
    triggers: Mapping[str, str] = _setting(None, "the installation's triggers on deals: carry or drop")

    crm_name: str = _setting("the CRM", "what people call it, in the notices")
    notice_timezone: str = _setting(
        "UTC", "the time zone of the notices, such as Europe/Zurich; UTC is shown beside it"
    )
    notice_late_minutes: float = _setting(15.0, "past the planned start or end before people are told of a delay")
    notice_attempts: int = _setting(
        8, "how often the mail server may turn a notice away; waits grow from 1 minute to 1 hour"
    )
    notice_seconds: float = _setting(300.0, "how long one `announce due` goes on sending")
    status_url: str = _setting("", "address of the status page, linked in the notices")
    whats_new_url: str = _setting("", 'address of the page "What\'s new", linked in the notices')
    mail_from: str = _setting("", "sender of the notices: address, or Name <address>")
    mail_reply_to: str = _setting("", "where answers to the notices go")
    smtp_host: str = _setting("", "mail server")
    smtp_port: int = _setting(587, "its port")
    smtp_tls: str = _setting("starttls", "starttls, tls (from the first byte) or none")
    smtp_ca_file: str = _setting("", "certificate authority of the mail server, when the system does not know it")
    smtp_user: str = _setting("", "login at the mail server; empty: none")
    smtp_password: str = _setting("", "its password; better in the environment or in smtp_password_file", repr=False)
    smtp_password_file: str = _setting("", "file that holds the password")
    smtp_timeout: float = _setting(20.0, "for one mail, from connecting to the server's answer")

    def __post_init__(self) -> None:
        for name in ("rename", "triggers"):
            object.__setattr__(self, name, dict(getattr(self, name) or {}))
        redaction.remember_connection(self.dsn)
        redaction.remember(self.smtp_password)
        for name in ("work_dir", "backup_dir", "seeds_dir", "log_file"):
            object.__setattr__(self, name, Path(getattr(self, name)).expanduser().absolute())

    @property
    def conninfo(self) -> dict[str, Any]:
        """The connection string, parsed; holds the password, so never print it."""
        return conninfo_to_dict(self.dsn)

    @property
    def fingerprint(self) -> str:
        """Hash of the settings that decide what a run does to the data."""
        values = {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name not in _NOT_FINGERPRINTED and not item.name.startswith(_OF_NOTICES)
        }
        return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()

    def public(self) -> dict[str, Any]:
        """The settings as they may be shown and stored: without the password."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        values["dsn"] = without_password(self.dsn)
        values["smtp_password"] = "***" if self.smtp_password else ""
        return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


@dataclass(frozen=True)
class Loaded:
    """Settings and the origin of each value: `flag`, the variable's or the file's name, or `default`."""

    settings: Settings
    origins: Mapping[str, str]


def without_password(dsn: str) -> str:
    """The connection string without secrets, for people: parsed, not searched by a pattern."""
    if not dsn:
        return ""
    values = conninfo_to_dict(dsn)
    kept = {key: value for key, value in values.items() if key not in redaction.keywords() | {"passfile", "sslkey"}}
    return make_conninfo("", **kept)


def load(file: Path | None = None, environ: Mapping[str, str] = os.environ, **flags: Any) -> Loaded:
    """Read the settings.

    Args:
        file: a TOML file; None reads `crm-migrate.toml` of the working folder when there is one.
        environ: the environment to read from.
        flags: values given on the command line; None means not given.

    Raises:
        ConfigurationError: an unknown key, a value of the wrong type, an unreadable file or connection string.
    """
    known = {item.name: item for item in dataclasses.fields(Settings)}
    hints = typing.get_type_hints(Settings)
    values: dict[str, Any] = {}
    origins = dict.fromkeys(known, "default")

    for name, value in _read_file(file).items():
        if name not in known:
            raise ConfigurationError(
                f"{file or FILE} has an unknown setting {name!r}.", next="crm-migrate config lists the settings."
            )
        values[name], origins[name] = _convert(name, value, hints[name], str(file or FILE)), str(file or FILE)
    for name in known:
        variable = PREFIX + name.upper()
        if variable in environ:
            values[name] = _convert(name, environ[variable], hints[name], variable)
            origins[name] = variable
    if environ.get("DATABASE_URL") and PREFIX + "DSN" not in environ:
        values["dsn"], origins["dsn"] = environ["DATABASE_URL"], "DATABASE_URL"
    for name, value in flags.items():
        if value is not None:
            values[name], origins[name] = _convert(name, value, hints[name], "flag"), "flag"

    try:
        conninfo_to_dict(values.get("dsn", ""))
    except ProgrammingError:
        # libpq's own message repeats the string, which may hold the password
        raise ConfigurationError(
            f"The connection string from {origins['dsn']} cannot be read.",
            why="It is neither a postgresql:// URL nor a list of keyword=value pairs.",
            next="Example: postgresql://user@host:5432/database",
        ) from None
    loaded = Loaded(Settings(**values), origins)
    for table, name in loaded.settings.rename.items():
        if not name or "%" in name or not name.isprintable():
            raise ConfigurationError(
                f"The setting rename from {origins['rename']} gives {table} no usable name: {name!r}.",
                next=f"Example: rename = {{{table} = 'crm_{table}'}}",
            )
    if loaded.settings.fallback_stage not in STAGES:
        raise ConfigurationError(
            f"The setting fallback_stage from {origins['fallback_stage']} is no stage: {values['fallback_stage']!r}.",
            next=f"One of: {', '.join(STAGES)}.",
        )
    return loaded


def _read_file(file: Path | None) -> dict[str, Any]:
    path = file or Path(FILE)
    if file is None and not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"The settings file {path} cannot be read.", why=str(error)) from error


def _convert(name: str, value: Any, hint: Any, origin: str) -> Any:
    try:
        if hint is Path:
            return Path(value)
        if hint is bool:
            return _BOOLEANS[str(value).lower()]
        if hint in (int, float, str):
            if isinstance(value, bool):
                raise ValueError("true and false are not a value for it")
            return hint(value)
        if isinstance(value, str):
            value = tomllib.loads(f"value = {value}")["value"]
        if not isinstance(value, Mapping):
            raise ValueError("a table is expected, such as {deal_won = 'carry'}")
        return {str(key): str(item) for key, item in value.items()}
    except (ValueError, TypeError, KeyError) as error:
        shown = "***" if "password" in name or name == "dsn" else repr(value)
        raise ConfigurationError(
            f"The setting {name} from {origin} has a value that cannot be used: {shown}.",
            why=str(error),
            next="Correct it there, then the same command again.",
        ) from error


def describe(loaded: Loaded) -> list[dict[str, Any]]:
    """Each setting with its value (without secrets), its origin and what it means."""
    shown = loaded.settings.public()
    return [
        {
            "name": item.name,
            "value": shown[item.name],
            "origin": loaded.origins[item.name],
            "help": item.metadata["help"],
        }
        for item in dataclasses.fields(Settings)
    ]
