"""The one tree of errors. A class is a situation; an instance carries all that the operator needs."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

from crm_migrate.redaction import redacted


class Exit(IntEnum):
    """Exit codes of the program, as `crm-migrate --help` documents them."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    NO_GO = 3
    WRONG_STATE = 4
    VERIFICATION_FAILED = 5
    WINDOW = 6
    RESUMABLE = 7
    INTERRUPTED = 130


NOTHING_CHANGED = "Nothing was changed."


class MigrationError(Exception):
    """Something the operator has to know about; it is shown, logged and stored, so it never holds a secret.

    Args:
        what: what happened, one sentence.
        why: the cause, as far as it is known.
        state: what state the database is in now.
        next: the next safe command or action.
    """

    code: ClassVar[str] = "CRM-001"
    exit_code: ClassVar[Exit] = Exit.UNEXPECTED

    def __init__(self, what: str, *, why: str = "", state: str = NOTHING_CHANGED, next: str = "") -> None:
        super().__init__(redacted(what))
        self.what = redacted(what)
        self.why = redacted(why)
        self.state = redacted(state)
        self.next = redacted(next)

    def as_dict(self) -> dict[str, str]:
        """The `error` object of the JSON documents."""
        return {"code": self.code, "what": self.what, "why": self.why, "state": self.state, "next": self.next}


class UsageError(MigrationError):
    """A flag, a setting or an answer is missing or wrong."""

    code, exit_code = "CRM-010", Exit.USAGE


class ConfigurationError(MigrationError):
    """A settings file, an environment variable or the machine is not as it must be."""

    code, exit_code = "CRM-011", Exit.USAGE


class ConnectionFailed(MigrationError):
    """The database cannot be reached, or refuses this login."""

    code, exit_code = "CRM-020", Exit.USAGE


class MissingPrivilege(MigrationError):
    """The server refuses this role something that the command needs."""

    code, exit_code = "CRM-021", Exit.USAGE


class NoGo(MigrationError):
    """The checks say no. Nothing is wrong with the tool; the data or the mapping needs a decision."""

    code, exit_code = "CRM-300", Exit.NO_GO


class WrongState(MigrationError):
    """The command does not fit the state that the database is in."""

    code, exit_code = "CRM-400", Exit.WRONG_STATE


class Stopped(MigrationError):
    """The run stopped at a safe place; the same command goes on."""

    code, exit_code = "CRM-700", Exit.RESUMABLE


class Passing(Stopped):
    """Stopped by what passes by itself, such as a deadlock: the program tries again before it asks the operator to."""

    code = "CRM-704"


class ConnectionLost(Passing):
    """The server or the network went away; what was committed is in the ledger."""

    code = "CRM-705"


class Interrupted(MigrationError):
    """The operator interrupted the run; the same command goes on."""

    code, exit_code = "CRM-130", Exit.INTERRUPTED
