"""Secrets of connections: known by parsing, taken out of every text that leaves the program."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

INSTEAD = "***"
_known: set[str] = set()


@functools.cache
def keywords() -> frozenset[str]:
    """The words of a connection string whose values are secrets."""
    from psycopg import pq  # errors come here, and so does --help

    # libpq marks what must be typed unseen; the others are as good as a password and are not marked
    unseen = {item.keyword.decode() for item in pq.Conninfo.get_defaults() if item.dispchar == b"*"}
    unmarked = {"password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"}
    return frozenset(unseen | unmarked)


def remember(*values: object) -> None:
    """Secrets that may appear nowhere from here on, such as the password that a service file gave."""
    _known.update(str(value) for value in values if value)


def remember_connection(dsn: str) -> None:
    """The secrets of a connection string, as it is written and as it is meant; one that cannot be read has none."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        values = conninfo_to_dict(dsn)
    except ProgrammingError:
        return
    for keyword in keywords() & values.keys():
        value = str(values[keyword])
        remember(value)
        # in a URL it may be written otherwise: in front of the last @ of its first part
        written = dsn.partition("://")[2].partition("/")[0].rpartition("@")[0].partition(":")[2]
        if keyword == "password" and written:
            remember(written)


def redacted(text: str) -> str:
    """The text without the secrets that are known; the longest first, for one may be a part of another."""
    for secret in sorted(_known | _of_environment(), key=len, reverse=True):
        text = text.replace(secret, INSTEAD)
    return text


def redacted_data(value: Any) -> Any:
    """The same for whatever JSON can hold, and for what becomes a text in it; keys are the program's own words."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {key: redacted_data(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [redacted_data(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redacted(str(value))


def _of_environment() -> set[str]:
    return {os.environ["PGPASSWORD"]} if os.environ.get("PGPASSWORD") else set()
