"""Who is told: the people of `sales` who are not disabled, each address once."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import HeaderParseError, MessageError
from email.headerregistry import Address

from crm_migrate import database
from crm_migrate.database import Connection

LONGEST_ADDRESS = 254
LONGEST_NAME = 80
_FOREIGN = re.compile(r"[^\x00-\x7f]")


@dataclass(frozen=True)
class Person:
    """Somebody who can be written to."""

    address: str
    """As it is written on the envelope; its domain in the letters of the domain name system."""
    name: str

    @property
    def key(self) -> str:
        """The same for addresses that differ in upper and lower case only."""
        return self.address.casefold()


@dataclass(frozen=True)
class Unreachable:
    """An enabled user whom no mail can reach."""

    sales_id: int
    why: str


def read(connection: Connection, *, administrators: bool = False) -> tuple[list[Person], list[Unreachable]]:
    """The people to tell, and those who cannot be told."""
    people: dict[str, Person] = {}
    unreachable: list[Unreachable] = []
    for row in database.rows(
        connection,
        """
        select
            id,
            email::text as address,
            concat_ws(' ', nullif(trim(first_name), ''), nullif(trim(last_name), '')) as name
        from public.sales
        where disabled is not true and (administrator or not %s)
        order by id
        """,
        [administrators],
    ):
        try:
            person = Person(clean_address(row["address"] or ""), clean_name(row["name"]))
        except ValueError as error:
            unreachable.append(Unreachable(row["id"], str(error)))
        else:
            people.setdefault(person.key, person)
    return list(people.values()), unreachable


def clean_address(text: str) -> str:
    """The address with its domain in the letters of the domain name system.

    Raises:
        ValueError: nobody can be written to under it.
    """
    text = text.strip()
    if not text:
        raise ValueError("no e-mail address")
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp") for letter in text):
        raise ValueError("the e-mail address holds control characters")
    local, _, domain = text.rpartition("@")
    try:
        domain = domain.encode("idna").decode("ascii")
        # the parser knows nothing of international addresses; elsewhere in them a letter is a letter
        parsed = Address(addr_spec=f"{_FOREIGN.sub('x', local)}@{domain}")
    except (HeaderParseError, MessageError, ValueError, IndexError):
        raise ValueError("not an e-mail address") from None
    whole = f"{local}@{domain}"
    if parsed.domain != domain or not local or not domain or any(map(str.isspace, whole)):
        raise ValueError("not an e-mail address")
    if len(whole.encode()) > LONGEST_ADDRESS:
        raise ValueError("the e-mail address is longer than mail allows")
    return whole


def clean_name(text: str, longest: int = LONGEST_NAME) -> str:
    """Text for a header: without line breaks and control characters, and not endless."""
    return " ".join("".join(_printable(text)).split())[:longest].strip()


def _printable(text: str) -> Iterator[str]:
    for letter in text:
        category = unicodedata.category(letter)
        # marks that turn the direction of the text around would turn the rest of the line too
        if category in ("Cf", "Cs", "Co", "Cn") and letter != "\u200d":
            continue
        yield " " if category in ("Cc", "Zl", "Zp") else letter
