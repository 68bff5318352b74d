"""A wrong mapping file is found before anything is built, and the message says where."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from crm_migrate import demo_data, paths, seeds
from crm_migrate.seed_files import MOST_PROBLEMS

Connection = psycopg.Connection[tuple[object, ...]]

ROLES = "company_id,company_name,website_domain,role,commission_percent\n"
CATEGORIES = "category,principal_company_id,principal_name\n"
AGREEMENTS = (
    "principal_company_id,principal_name,distributor_company_id,distributor_name,"
    "status,start_date,end_date,commission_percent,notes\n"
)
WAY_BACK = (paths.SEEDS / "stage_way_back.csv").read_text(encoding="utf-8")
STAGE_MAPPING = "legacy_stage,stage,status,probability\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped mapping files."""
    target = tmp_path / "seeds"
    target.mkdir()
    for path in paths.SEEDS.glob("*.csv"):
        shutil.copyfile(path, target / path.name)
    return target


@pytest.fixture
def crm(legacy_2026: Connection) -> Connection:
    """A CRM with three companies that the tests name, none of them by a name of the demo data."""
    legacy_2026.execute("set session_replication_role = replica")
    legacy_2026.execute(
        """
        insert into public.companies (id, created_at, name, website)
        values
            (900001, now(), 'Prima', 'https://www.Prima.example/about'),
            (900002, now(), 'Dista, Inc.', 'dista.example'),
            (900003, now(), 'Twin', null),
            (900004, now(), 'Twin', 'http://twin.example'),
            (900005, now(), 'Twain', 'https://twin.example:8080/')
        """
    )
    return legacy_2026


def found(connection: Connection, folder: Path) -> list[tuple[str, int | None, str]]:
    return [(problem.file, problem.line, problem.code) for problem in seeds.check(connection, folder)]


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.csv").write_bytes(text.encode())


def test_shipped_files_are_sound_in_both_generations(legacy: Connection) -> None:
    assert seeds.check(legacy, paths.SEEDS) == []


def test_demo_files_are_sound_in_both_generations(legacy: Connection, tmp_path: Path) -> None:
    folder = demo_data.demo_seeds(legacy, tmp_path / "demo")
    assert seeds.check(legacy, folder) == []


def test_company_is_named_by_id_name_or_domain(crm: Connection, folder: Path) -> None:
    write(
        folder,
        "company_roles",
        ROLES + '900001,,,principal,10\n,"Dista, Inc.",,distributor,12.5\n,,WWW.prima.example,distributor,\n',
    )
    write(folder, "category_principals", CATEGORIES + "print-project,,Prima\n")
    write(folder, "principal_distributor_agreements", AGREEMENTS + ',Prima,,"Dista, Inc.",active,2024-01-01,,7.5,ok\n')
    assert found(crm, folder) == []


def test_unknown_and_ambiguous_companies_are_named_with_their_ids(crm: Connection, folder: Path) -> None:
    write(
        folder,
        "company_roles",
        ROLES + "1234567,,,principal,\n,Nobody,,vendor,\n,Twin,,vendor,\n,,twin.example,vendor,\n,prima,,vendor,\n",
    )
    problems = seeds.check(crm, folder)
    assert [(problem.where, problem.column, problem.code) for problem in problems] == [
        ("company_roles.csv:2", "company_id", "seeds.unknown_company"),
        ("company_roles.csv:3", "company_name", "seeds.unknown_company"),
        ("company_roles.csv:4", "company_name", "seeds.ambiguous_company"),
        ("company_roles.csv:5", "website_domain", "seeds.ambiguous_company"),
        ("company_roles.csv:6", "company_name", "seeds.unknown_company"),
    ]
    assert "900003, 900004" in problems[2].message
    assert "900004, 900005" in problems[3].message


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("company_roles", ROLES + "900001,,,boss,\n", [(2, "seeds.bad_value")]),
        ("company_roles", ROLES + "900001,,,principal,100.01\n", [(2, "seeds.bad_value")]),
        ("company_roles", ROLES + "900001,,,principal,-1\n", [(2, "seeds.bad_value")]),
        ("company_roles", ROLES + "900001,,,principal,NaN\n", [(2, "seeds.bad_value")]),
        ("company_roles", ROLES + "900001,,,principal,12.345\n", [(2, "seeds.bad_value")]),
        ("company_roles", ROLES + "900001,,,principal,15%\n", [(2, "seeds.bad_value")]),
        ("company_roles", ROLES + "abc,,,principal,\n", [(2, "seeds.bad_value")]),
        ("company_roles", ROLES + "99999999999999999999,,,principal,\n", [(2, "seeds.bad_value")]),
        ("company_roles", ROLES + ",,,principal,\n", [(2, "seeds.bad_value")]),
        ("company_roles", ROLES + "900001,,,principal,\n,Prima,,principal,5\n", [(3, "seeds.duplicate")]),
        ("company_roles", ROLES + "900001,,,principal,\n,Prima,,customer,5\n", [(3, "seeds.conflicting_roles")]),
        ("company_roles", ROLES + "900001,,,vendor,\n,Prima,,customer,5\n", [(3, "seeds.conflicting_roles")]),
        ("company_roles", ROLES + "900001,,,principal,\n\n900002,,,distributor,\n", [(3, "seeds.blank_line")]),
        ("company_roles", ROLES + "900001,Prima, Inc.,,principal,\n", [(2, "seeds.column_count")]),
        ("company_roles", ROLES + '900001,"Prima\n', [(2, "seeds.unreadable")]),
        ("company_roles", "company_id,role\n", [(1, "seeds.missing_column")] * 3),
        ("company_roles", ROLES.replace(",", ";"), [(1, "seeds.missing_column")] * 5),
        ("company_roles", ROLES.replace("role", "role,role"), [(1, "seeds.duplicate")]),
        ("company_roles", "", [(None, "seeds.missing_column")]),
        ("company_roles", "\n", [(None, "seeds.missing_column")]),
        ("company_roles", ROLES + "900001,,,principal,\x00\n", [(2, "seeds.unreadable")]),
        ("category_principals", CATEGORIES + "other,900001,\n", [(2, "seeds.missing_role")]),
        ("category_principals", CATEGORIES + "other,,\n", [(2, "seeds.bad_value")]),
        ("principal_distributor_agreements", AGREEMENTS + "900001,,900001,,active,,,,\n", None),
        (
            "activity_type_mapping",
            "task_type,activity_type,interaction_type\nx,interaction,call\n",
            [(2, "seeds.bad_value")],
        ),
        (
            "activity_type_mapping",
            "task_type,activity_type,interaction_type\nx,engagement,fax\n",
            [(2, "seeds.bad_value")],
        ),
        (
            "activity_type_mapping",
            "task_type,activity_type,interaction_type\ncall,engagement,call\n Call ,engagement,call\n",
            [(3, "seeds.duplicate")],
        ),
        ("stage_mapping", STAGE_MAPPING + "won,victory,active,100\n", None),
    ],
)
def test_wrong_line_is_reported_with_its_number(
    crm: Connection, folder: Path, name: str, text: str, expected: list[tuple[int | None, str]] | None
) -> None:
    write(folder, name, text)
    problems = [(line, code) for file, line, code in found(crm, folder) if file == f"{name}.csv"]
    if expected is None:
        assert problems
    else:
        assert problems == expected


@pytest.mark.parametrize(
    "decorate",
    [
        pytest.param(lambda text: "\ufeff" + text, id="byte order mark"),
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(lambda text: text.removesuffix("\n"), id="no final newline"),
        pytest.param(lambda text: text.replace("Prima", '"Prima"'), id="quoted"),
    ],
)
def test_files_of_any_spreadsheet_are_read(crm: Connection, folder: Path, decorate: Callable[[str], str]) -> None:
    write(folder, "company_roles", decorate(ROLES + ',"Dista, Inc.",,distributor,\n,Prima,,principal,5'))
    assert found(crm, folder) == []


def test_line_after_a_cell_with_a_newline_keeps_its_number(crm: Connection, folder: Path) -> None:
    write(folder, "company_roles", ROLES + "900001,,,principal,\n900002,,,distributor,\n")
    lines = '900001,,900002,,active,,,5,"two\nlines"\n900001,,900002,,pending,2024-02-30,,5,\n'
    write(folder, "principal_distributor_agreements", AGREEMENTS + lines)
    assert found(crm, folder) == [("principal_distributor_agreements.csv", 4, "seeds.bad_value")]


def test_file_that_is_not_utf8_is_named_with_the_line(crm: Connection, folder: Path) -> None:
    (folder / "company_roles.csv").write_bytes(ROLES.encode() + ",Zürich,,vendor,\n".encode("latin-1"))
    assert found(crm, folder) == [("company_roles.csv", 2, "seeds.not_utf8")]


def test_missing_file_is_reported(crm: Connection, folder: Path) -> None:
    (folder / "company_roles.csv").unlink()
    assert found(crm, folder) == [("company_roles.csv", None, "seeds.unreadable")]


def test_agreement_needs_two_companies_with_their_roles(crm: Connection, folder: Path) -> None:
    write(folder, "company_roles", ROLES + "900001,,,principal,\n900002,,,distributor,\n900001,,,distributor,\n")
    lines = [
        "900001,,900002,,active,2024-01-01,2023-01-01,5,",  # ends before it starts
        "900001,,900001,,active,,,5,",  # one company
        "900002,,900001,,pending,,,5,",  # the wrong way round
        "900001,,900002,,active,,,6,",  # a second one in force
        "900001,,900002,,terminated,,,6,",
    ]
    write(folder, "principal_distributor_agreements", AGREEMENTS + "\n".join(lines))
    file = "principal_distributor_agreements.csv"
    assert found(crm, folder) == [
        (file, 2, "seeds.bad_value"),
        (file, 3, "seeds.same_company"),
        (file, 4, "seeds.missing_role"),
        (file, 5, "seeds.duplicate"),
    ]


def test_way_back_names_each_stage_once(crm: Connection, folder: Path) -> None:
    write(folder, "stage_way_back", WAY_BACK.replace("qualified,opportunity", "lead,won"))
    assert found(crm, folder) == [
        ("stage_way_back.csv", None, "seeds.missing_stage"),
        ("stage_way_back.csv", 3, "seeds.duplicate"),
    ]


def test_way_back_shows_configured_stages_only(crm: Connection, folder: Path) -> None:
    crm.execute("update public.configuration set config = jsonb_build_object('dealStages', '[]'::jsonb)")
    assert found(crm, folder) == [], "an empty configuration proves nothing"
    crm.execute(
        """
        update public.configuration
        set config = '{"dealStages": [{"value": "opportunity"}, {"value": "won"}, {"value": "lost"}]}'
        """
    )
    shown = {problem.value for problem in seeds.check(crm, folder)}
    assert shown == {"proposal-sent", "in-negociation", "delayed"}


def test_way_back_shows_stages_of_the_mapping_or_of_the_deals(legacy_2025: Connection, folder: Path) -> None:
    write(folder, "stage_way_back", WAY_BACK.replace("qualified,opportunity", "qualified,Demo booked"))
    assert found(legacy_2025, folder) == [("stage_way_back.csv", 3, "seeds.unknown_stage_shown")]
    legacy_2025.execute("update public.deals set stage = 'Demo booked' where id = (select min(id) from public.deals)")
    assert found(legacy_2025, folder) == []


def test_of_very_many_problems_the_first_are_told_and_how_many_more_there_are(crm: Connection, folder: Path) -> None:
    many = MOST_PROBLEMS + 234
    for lines, code in (
        ("900001,,,boss,\n" * many, "seeds.bad_value"),
        ("900001,,,vendor,\n" * (many + 1), "seeds.duplicate"),
        (",Nobody,,vendor,\n" * many, "seeds.unknown_company"),
    ):
        write(folder, "company_roles", ROLES + lines)
        *told, more = seeds.check(crm, folder)
        assert [problem.code for problem in told] == [code] * MOST_PROBLEMS
        assert (more.code, more.count, more.where) == ("seeds.more", 234, "company_roles.csv")
        assert "234 more problem(s)" in str(more)


def test_a_character_on_the_edge_of_two_blocks_is_read(crm: Connection, folder: Path) -> None:
    # blocks are of 64 KiB: with one byte more before it, each of the two bytes of ü ends a block once
    for more in (0, 1):
        note = "x" * more + "ü" * 70_000
        write(folder, "principal_distributor_agreements", AGREEMENTS + f"900001,,900002,,active,,,5,{note}\n")
        write(folder, "company_roles", ROLES + "900001,,,principal,\n900002,,,distributor,\n")
        assert found(crm, folder) == []
        with (folder / "principal_distributor_agreements.csv").open("ab") as file:
            file.write(b"900001,,900002,,terminated,,,5,\xfc\n")
        assert found(crm, folder) == [("principal_distributor_agreements.csv", 3, "seeds.not_utf8")]


def test_memory_does_not_follow_the_lines(crm: Connection, folder: Path) -> None:
    def peak(lines: int) -> int:
        crm.execute("delete from public.companies where id > 1000000")
        crm.execute(
            "insert into public.companies (id, created_at, name)"
            " select 1000000 + number, now(), 'Customer ' || number from generate_series(1, %s) as number",
            [lines],
        )
        write(folder, "company_roles", ROLES + "".join(f",Customer {line + 1},,customer,\n" for line in range(lines)))
        tracemalloc.start()
        try:
            assert seeds.check(crm, folder) == []
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # held, the lines would take ten times as much
    assert peak(10_000) < peak(1_000) + 500_000


def test_fingerprint_follows_every_change(folder: Path) -> None:
    before = seeds.fingerprint(folder)
    assert seeds.fingerprint(paths.SEEDS) == before
    with (folder / "company_roles.csv").open("a") as file:
        file.write("1,,,vendor,\n")
    assert seeds.fingerprint(folder) != before
