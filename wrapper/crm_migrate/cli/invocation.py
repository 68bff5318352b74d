"""One invocation of the program: its settings, its connection, its output, and how its errors end."""

from __future__ import annotations

import json as json_module
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from crm_migrate import redaction
from crm_migrate.controls import written_out, written_out_in_json
from crm_migrate.errors import ConnectionLost, Exit, Interrupted, MigrationError, MissingPrivilege, UsageError

if TYPE_CHECKING:
    from crm_migrate.database import Connection
    from crm_migrate.settings import Settings


_SEEN_BY_ALL = (
    "A password on the command line can be read by every account of this machine: DATABASE_URL or ~/.pgpass keep it."
)


# of each part of an error on a terminal, so that all of them are on one screen of 24 lines
_LINES = {"what": 8, "why": 7, "state": 3, "next": 4}


class Result(Protocol):
    """What a command renders."""

    @property
    def run_id(self) -> str | None:
        """The run it speaks of."""

    @property
    def exit_code(self) -> Exit:
        """How the program ends."""

    def as_json(self) -> dict[str, Any]:
        """The keys of its JSON document."""


class Invocation:
    """A command at work."""

    def __init__(self, command: str, settings: Settings, *, json: bool, debug: bool) -> None:
        self.command = command
        self.settings = settings
        self.json = json
        self.debug = debug
        self.database: str | None = None
        self.exit_code = Exit.OK

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """An open connection to the database of the settings."""
        from crm_migrate import database

        with database.connect(self.settings) as connection:
            self.database = connection.info.dbname
            yield connection

    def confirm_database(self, connection: Connection, given: str | None) -> None:
        """Have the operator name the database.

        Raises:
            UsageError: no answer without a terminal, or another name.
        """
        name = connection.info.dbname
        if given is None:
            if not sys.stdin.isatty():
                raise UsageError(
                    "This changes the database and nobody is there to confirm it.",
                    next=f"crm-migrate {self.command} --confirm-database {name}",
                )
            given = typer.prompt(f"This changes the database {written_out(name)}. Type its name to go on", err=True)
        if given.strip() != name:
            raise UsageError(
                f"The name does not match: this connection leads to {name!r}.",
                next="Check DATABASE_URL, or type the name.",
            )

    def agree(self, question: str, given: bool) -> None:
        """Have the operator say yes to something that changes nothing of the CRM but cannot be taken back.

        Raises:
            UsageError: no answer without a terminal, or no.
        """
        if given:
            return
        if not sys.stdin.isatty():
            raise UsageError("Nobody is there to answer.", why=question, next=f"crm-migrate {self.command} --yes")
        if not typer.confirm(question, err=True):
            raise UsageError("Not confirmed.")

    def finish(self, result: Result, render: Any = None) -> None:
        """Print the result, as JSON or for people, and remember its exit code."""
        self.exit_code = result.exit_code
        if self.json:
            self.document(result.as_json(), run_id=result.run_id)
        elif render is not None:
            from crm_migrate.cli.terminal import stdout

            render(stdout(), result)

    def document(self, body: dict[str, Any], *, run_id: str | None = None) -> None:
        """Print the command's JSON document."""
        head = {
            "schema": f"crm-migrate/{self.command}/1",
            "ok": self.exit_code == Exit.OK,
            "exit_code": int(self.exit_code),
            "run_id": run_id,
            "database": self.database,
            "generated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        readable = "utf" in (sys.stdout.encoding or "").lower()
        text = json_module.dumps(head | body, ensure_ascii=not readable, indent=2, default=str)
        print(written_out_in_json(text))


def usage_document(what: str, arguments: Sequence[str]) -> None:
    """The document of a command line that cannot be understood."""
    from crm_migrate.cli import app

    words = [word for word in arguments if not word.startswith("-")]
    grouped = words[:1] in [[group.name] for group in app.registered_groups]
    command = " ".join(words[: 2 if grouped else 1])
    call = Invocation.__new__(Invocation)
    call.database = None
    _show(UsageError(what, next=f"crm-migrate {command} --help"), call, command, json=True)


@contextmanager
def invocation(
    command: str,
    *,
    dsn: str | None = None,
    config: Path | None = None,
    json: bool = False,
    debug: bool = False,
    **flags: Any,
) -> Iterator[Invocation]:
    """Run a command's body; every way it can end is turned into the right exit code here."""
    call: Invocation | None = None
    failure: MigrationError
    cause: BaseException
    try:
        from crm_migrate import settings

        loaded = settings.load(config, dsn=dsn, **flags)
        if dsn and redaction.keywords() & loaded.settings.conninfo.keys():
            print(_SEEN_BY_ALL, file=sys.stderr)
        call = Invocation(command, loaded.settings, json=json, debug=debug)
        yield call
        raise typer.Exit(int(call.exit_code))
    except MigrationError as error:
        cause = failure = error
    except KeyboardInterrupt:
        cause = failure = Interrupted("Interrupted.", state="What was finished is recorded.", next="crm-migrate status")
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        cause = error
        failure = _unexpected(error)
    if debug:
        _explain(cause)
    _show(failure, call or Invocation.__new__(Invocation), command, json=json)
    raise typer.Exit(int(failure.exit_code))


def _explain(error: BaseException) -> None:
    """Where it happened, for `--debug`."""
    text = "".join(traceback.format_exception(error))
    print(written_out(redaction.redacted(text)), file=sys.stderr, end="", flush=True)


def _unexpected(error: Exception) -> MigrationError:
    import psycopg

    from crm_migrate import database, log

    text = f"{type(error).__name__}: {error}".splitlines()[0]
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return MissingPrivilege(
            "This role may not do what the command needs.",
            why=text,
            state="What was finished is recorded.",
            next="Connect as the owner of the CRM's tables; crm-migrate doctor says what is missing.",
        )
    if isinstance(error, psycopg.Error) and database.is_lost(error):
        return ConnectionLost(
            "The connection to the database was lost.",
            why=text,
            state="What was finished is recorded.",
            next="The same command again, as soon as the server answers; crm-migrate status tells how far it came.",
        )
    log.logger.error("unexpected error", exc_info=error)
    return MigrationError(
        "Something unexpected went wrong.",
        why=text,
        state="What was finished is recorded; the CRM may be locked.",
        next="crm-migrate status, then the same command again; --debug shows where it happened.",
    )


def _show(error: MigrationError, call: Invocation, command: str, *, json: bool) -> None:
    from crm_migrate import log

    log.event("error", **error.as_dict(), exit_code=int(error.exit_code))
    if json:
        call.command = command
        call.database = getattr(call, "database", None)
        call.exit_code = error.exit_code
        call.document({"error": error.as_dict()})
        return
    from rich.text import Text

    from crm_migrate.cli.terminal import stderr
    from crm_migrate.cli.visible import visible

    console = stderr()

    def tell(shown: Text, most: int) -> None:
        lines = shown.wrap(console, console.width)
        if not console.is_terminal or len(lines) <= most:
            console.print(shown)
            return
        console.print(*lines[: most - 1], sep="\n")
        console.print(Text(f"        {len(lines) - most + 1:,} more lines: --json shows them", style="dim"))

    tell(Text(visible(f"{error.code}  {error.what}", lines=True), style="bold red"), _LINES["what"])
    for label, text in (("why", error.why), ("state", error.state), ("next", error.next)):
        if text:
            tell(Text(f"  {label:<6}", style="dim") + Text(visible(text, lines=True)), _LINES[label])
