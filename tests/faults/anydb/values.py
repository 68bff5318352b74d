"""Values that the column types allow, hostile ones first: text as PostgreSQL reads it, or None for null."""

from __future__ import annotations

import json

from hypothesis import strategies as st

Value = str | None
Values = st.SearchStrategy[Value]

HOSTILE_TEXTS = (
    "",
    " ",
    "\t\n",
    "NULL",
    "null",
    "0",
    "1e400",
    "-0",
    "{}",
    "\\N",
    "\\.",
    "back\\slash\\",
    'O\'Brien "and" Söhne',
    "'; drop table public.deals; --",
    "$$ $crm$ $1 %s %(name)s {{ jinja }} {% raw %} {0}",
    "two\nlines\r\nand\ttabs\v\f\b",
    "שלום עולם \u202eمرحبا\u202c",
    "🦊👩\u200d👩\u200d👧\u200d👦 𝔘𝔫𝔦 \U0010ffff",
    "e\u0301 \u1e0d\u0323\u0307 Å ﬁ ß İ ı",
    "\ufeff\u200b\u00a0\u0085\u2028",
    "\x01\x1f\x7f",
    "<script>alert(1)</script>&amp;",
    "a,b;c|d",
    "won",
    "Won ",
)
# characters that UTF8 can hold: no zero byte, no half of a surrogate pair
_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")

TIMES = (
    "infinity",
    "-infinity",
    "294276-12-31 23:59:59.999999+00",
    "4714-11-24 00:00:00+00 BC",
    "0001-01-01 00:00:00+00",
    "0001-12-31 23:59:59.999999+00 BC",
    "1969-12-31 23:59:59.999999+00",
    "1883-11-18 12:03:58-04:56:02",
    "2024-03-31 02:30:00 Europe/Berlin",
    "2024-10-27 02:30:00 Europe/Berlin",
    "2024-02-29 23:59:59.999999+14",
    "2024-06-30 24:00:00-12",
    "2025-06-01 12:00:00+00",
)
DATES = (
    "infinity",
    "-infinity",
    "5874897-12-31",
    "4714-11-24 BC",
    "0001-01-01 BC",
    "1970-01-01",
    "2024-02-29",
    "2026-01-15",
)
INT8 = (2**63 - 1, -(2**63), 2**53 + 1, -(2**53) - 1, 2**31, 0, -1, 1, 100)
DEEP = '{"a":' * 60 + '[null,{"":-0.0}]' + "}" * 60
JSONB = (
    "null",
    "{}",
    "[]",
    '""',
    '"not a list"',
    "1e400",
    "123456789012345678901234567890.00100",
    '{"a": 1, "a": 2, "": {"\\"": "\\\\"}}',
    '[{"email": "A@B.C", "type": "Work"}, {"email": "🦊@ü.de", "type": "Home"}]',
    '[{"email": null}, {"number": 5}, 1, "x", null, []]',
    '[{"number": "+49 1", "type": "Work"}]',
    '{"src": "https://x/y?z=\'", "title": "a\\nb"}',
    DEEP,
)
# what only json keeps: blanks, order, repeated keys, and escapes that no text can hold
JSON = (*JSONB, '{ "b":1,\n "a" : 2 , "b":3}', '"\\u0000"', '{"half": "\\ud834"}', "[ ]")


def nullable(values: Values) -> Values:
    """The values, and now and then none."""
    return st.one_of(st.none(), values, values, values)


def texts(longest: int | None = None) -> Values:
    """Any text."""
    fitting = [text for text in HOSTILE_TEXTS if longest is None or len(text) <= longest]
    free = st.text(_CHARACTERS, max_size=min(longest or 30, 30))
    many = [st.sampled_from(fitting), free]
    if longest is None:
        many.append(st.sampled_from(["x" * 300_000, "ü\n" * 9_000]))
    return st.one_of(*many)


def integers(low: int, high: int) -> Values:
    """Whole numbers, the ends first."""
    ends = [number for number in (*INT8, low, high) if low <= number <= high]
    return st.one_of(st.sampled_from(ends), st.integers(low, high)).map(str)


def times() -> Values:
    """Points in time."""
    usual = st.datetimes().map(lambda moment: moment.isoformat() + "+00")
    return st.one_of(st.sampled_from(TIMES), usual)


def dates() -> Values:
    """Days."""
    return st.one_of(st.sampled_from(DATES), st.dates().map(str))


def documents(known: tuple[str, ...] = JSONB) -> Values:
    """JSON documents."""
    leaves = st.none() | st.booleans() | st.integers() | st.text(_CHARACTERS, max_size=8)
    nested = st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(_CHARACTERS, max_size=5), inner, max_size=3)
        ),
        max_leaves=6,
    )
    return st.one_of(st.sampled_from(known), nested.map(json.dumps))


def quoted(element: Value) -> str:
    """An element of an array's text form."""
    if element is None:
        return "NULL"
    return '"' + element.replace("\\", "\\\\").replace('"', '\\"') + '"'


def array(elements: list[Value]) -> str:
    """An array's text form."""
    return "{" + ",".join(quoted(element) for element in elements) + "}"


def arrays(elements: Values) -> Values:
    """Arrays: empty, with nulls, with another lower bound, of two dimensions."""
    listed = st.lists(st.one_of(elements, st.none()), max_size=4)

    def shaped(members: list[Value], shape: str) -> str:
        if shape == "shifted" and members:
            return f"[-2:{len(members) - 3}]={array(members)}"
        if shape == "square" and members:
            return "{" + f"{array(members)},{array(members)}" + "}"
        return array(members)

    return st.builds(shaped, listed, st.sampled_from(["plain", "plain", "plain", "shifted", "square"]))


# types of an installation's own columns, each with values; all of them can be stored, and not all can be compared
OWN_TYPES: dict[str, Values] = {
    "text": texts(),
    "varchar(25)": texts(25),
    "character(12)": texts(12),
    "name": st.sampled_from(["", "a", "ü" * 20, "x" * 63]),
    '"char"': st.sampled_from(["", "a", "\\377"]),
    "extensions.citext": texts(),
    "boolean": st.sampled_from(["t", "f"]),
    "smallint": integers(-(2**15), 2**15 - 1),
    "integer": integers(-(2**31), 2**31 - 1),
    "bigint": integers(-(2**63), 2**63 - 1),
    "numeric": st.sampled_from(["NaN", "Infinity", "-Infinity", "0.000", "1e200", "-123456789.123456789000"]),
    "numeric(12,3)": st.sampled_from(["0", "-999999999.999", "1.5"]),
    "real": st.sampled_from(["NaN", "Infinity", "-0", "1.1", "3.4028235e38", "1e-45"]),
    "double precision": st.sampled_from(["NaN", "-Infinity", "-0", "0.1", "2.2250738585072014e-308", "5e-324"]),
    "money": st.sampled_from(["-92233720368547758.08", "0.01"]),
    "date": dates(),
    "time": st.sampled_from(["00:00:00", "24:00:00", "23:59:59.999999"]),
    "timetz": st.sampled_from(["00:00:00+15:59:59", "24:00:00-12"]),
    "timestamp": st.sampled_from(
        ["infinity", "4714-11-24 00:00:00 BC", "294276-12-31 23:59:59.999999", "2024-03-31 02:30"]
    ),
    "timestamptz": times(),
    "timestamptz(0)": st.sampled_from(["infinity", "2024-02-29 12:00:00+00"]),
    "interval": st.sampled_from(["1 year -2 mons 3 days -04:05:06.789", "-178000000 years", "0", "P1Y"]),
    "uuid": st.sampled_from(["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"]),
    "json": documents(JSON),
    "jsonb": documents(),
    "bytea": st.binary(max_size=20).map(lambda raw: "\\x" + raw.hex()),
    "xml": st.sampled_from(["<a/>", "text &amp; <b>x</b>"]),
    "inet": st.sampled_from(["::1/64", "10.0.0.1"]),
    "macaddr": st.sampled_from(["08:00:2b:01:02:03"]),
    "bit(5)": st.sampled_from(["10101", "00000"]),
    "bit varying": st.sampled_from(["", "1", "0" * 70]),
    "point": st.sampled_from(["(NaN,-Infinity)", "(0,-0)"]),
    "box": st.sampled_from(["(1,2),(0,0)"]),
    "int4range": st.sampled_from(["empty", "[1,5)", "(,)"]),
    "nummultirange": st.sampled_from(["{}", "{[1.5,2),(3,)}"]),
    "tsvector": st.sampled_from(["", "'a':1A 'b''c':2"]),
    "text[]": arrays(texts(12)),
    "bigint[]": arrays(integers(-(2**63), 2**63 - 1)),
    "jsonb[]": arrays(documents()),
    "date[]": arrays(dates()),
    "numeric(8,2)[]": arrays(st.sampled_from(["1.50", "NaN"])),
}
