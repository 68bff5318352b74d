"""The kit for the front end: types are compiled, redirects served by nginx, queries run, fixtures loaded."""

from __future__ import annotations

import fcntl
import http.client
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from crm_migrate import paths
from crm_migrate.errors import UsageError, WrongState
from crm_migrate.kit import catalog, files, redirects, resources
from crm_migrate.kit.catalog import Catalog
from crm_migrate.kit.files import KitReport
from crm_migrate.kit.fixtures import WHOLE, Fixtures, Part
from crm_migrate.server import free_port
from crm_migrate.settings import Settings
from crm_migrate.web.banner import Banner
from nginx import find as find_nginx
from nginx import running as running_nginx
from people import as_role, value
from running import program

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

HERE = Path(__file__).parent
OWN = """
    create type public.mood as enum ('fine', 'it''s "bad" */');
    create domain public.percent as numeric(5, 2) check (value between 0 and 100);
    create domain public.sure as public.percent not null;
    create table public."class*/ 2 Ünï" (
        id bigint generated always as identity primary key,
        "select" public.mood not null,
        "to be quoted" public.mood[],
        share public.percent,
        sure public.sure,
        matrix integer[][] not null,
        whole jsonb not null,
        twice numeric generated always as (2 * 21) stored,
        wanted text not null default 'x'
    );
    comment on table public."class*/ 2 Ünï" is 'Own */ table';
    create table public.opportunities_row (id bigint primary key);
    alter table public.opportunities add column "Own Score" smallint not null default 3;
"""
USAGE = """
import type {
  OWNRow, DealsRow, OpportunitiesInsert, OpportunitiesRow, OpportunitiesUpdate, OpportunityStage, Tables, Views,
} from "./types";

const stage: OpportunityStage = "closed_won";
// @ts-expect-error it is no stage of the new pipeline
const wrong: OpportunityStage = "won";
const insert: OpportunitiesInsert = { name: "new" };
// @ts-expect-error a name is needed
const nameless: OpportunitiesInsert = {};
// @ts-expect-error computed by the table
const computed: OpportunitiesInsert = { name: "new", commission_amount: 1 };
const update: OpportunitiesUpdate = { stage, customer_organization_id: null, "Own Score": 4 };
export const read = (row: OpportunitiesRow): number => {
  // @ts-expect-error may be null
  const amount: number = row.amount;
  // @ts-expect-error an element may be null
  const first: number = row.contact_ids![0];
  return row["Own Score"] + row.id + (row.amount ?? 0) + amount + first;
};
export const own = (row: OWNRow): string => {
  const bad: OWNRow["select"] = "it's \\"bad\\" */";
  const many: (OWNRow["select"] | null)[] | null = row["to be quoted"];
  const sure: number = row.sure;
  // @ts-expect-error this domain allows null
  const share: number = row.share;
  const cells: (number | null)[] = row.matrix;
  return [bad, many, sure, share, cells].join();
};
export const ownInsert: Tables["class*/ 2 Ünï"]["Insert"] = { select: "fine", matrix: [], sure: 1, whole: { a: [1] } };
export const listed: Views["opportunities_summary"]["Row"]["customer_name"] = null;
export const old = (row: DealsRow): string => row.stage + row.name;
export { wrong, insert, nameless, computed, update };
"""


@pytest.fixture(scope="session")
def compiler() -> Path:
    """The folder with the pinned TypeScript compiler; installed when it is missing."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.fail("node and npm are not installed (on Debian: apt-get install nodejs npm)")
    with (HERE / "package.json").open(encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (HERE / "node_modules" / "typescript" / "bin" / "tsc").exists():
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
            if done.returncode:
                pytest.fail(f"TypeScript of tests/kit/package.json cannot be installed by npm ci: {done.stderr[-500:]}")
    return HERE


@pytest.fixture(scope="session")
def nginx() -> str:
    """The program nginx."""
    return find_nginx()


def write(connection: Connection, settings: Settings, folder: Path, **part: Any) -> KitReport:
    return files.write(connection, settings, folder, Part(**part))


def compiled(compiler: Path, folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    options = (
        "--strict --noEmit --skipLibCheck --target es2022 --module esnext --moduleResolution bundler --jsx react-jsx"
    )
    command = ["node", str(compiler / "node_modules/typescript/bin/tsc"), *options.split(), *names]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_types_of_both_shapes_compile(
    migrated: Connection, make_settings: MakeSettings, compiler: Path, tmp_path: Path
) -> None:
    migrated.execute(OWN)
    settings = make_settings(migrated)
    write(migrated, settings, tmp_path / "kit")
    kit = tmp_path / "kit"
    own = next(
        line for line in (kit / "types.ts").read_text(encoding="utf-8").splitlines() if "interface Class" in line
    )
    name = own.removeprefix("export interface ").removesuffix("Row {")
    (kit / "usage.ts").write_text(USAGE.replace("OWNRow", f"{name}Row"), encoding="utf-8")
    shutil.copy(compiler / "stubs.d.ts", kit)
    result = compiled(compiler, kit, "usage.ts", "banner.ts", "redirects/DealsRedirect.tsx", "stubs.d.ts")
    assert result.returncode == 0, result.stdout

    # the compiler is able to say no: this is what an unchanged front end would see of a wrong type
    (kit / "wrong.ts").write_text(
        'import type { OpportunitiesRow } from "./types";\nexport const x = (r: OpportunitiesRow) => r.company_id;\n'
    )
    assert "company_id" in compiled(compiler, kit, "wrong.ts").stdout

    link = kit / "node_modules"
    link.symlink_to(compiler / "node_modules")
    script = shutil.copy(compiler / "deprecated.mjs", kit)
    shown = subprocess.run(["node", script, "usage.ts"], cwd=kit, capture_output=True, text=True, check=True).stdout
    assert set(shown.split()) == {"DealsRow"}


def test_every_example_query_runs_as_the_api_role(migrated: Connection, make_settings: MakeSettings) -> None:
    found = catalog.read(migrated, make_settings(migrated))
    examples = resources.resources(found)
    assert {item.name for item in examples} == {
        *("opportunities", "opportunity_participants", "opportunity_notes", "opportunity_products"),
        *("contact_organizations", "contact_preferred_principals", "activities", "interaction_participants"),
        *("products", "principal_distributor_relationships"),
    }
    filled = set()
    with as_role(migrated):
        for item in examples:
            cursor = migrated.execute(item.example.statement())
            assert [column.name for column in cursor.description or ()] == list(item.example.columns)
            assert f"select={','.join(item.example.columns)}" in item.example.rest()
            if cursor.fetchall():
                filled.add(item.name)
    assert filled >= {"opportunities", "opportunity_participants", "contact_organizations"}
    renamed = resources.document(found)["renamed"]
    assert renamed["deals"] == "opportunities"
    assert set(renamed) - {"deals"} <= {"deal_notes", "dealNotes"} & set(found.relations)
    assert {item["name"] for item in found.functions} >= {"create_opportunity_with_participants", "log_engagement"}


@contextmanager
def served(nginx: str, folder: Path, rules: str) -> Iterator[int]:
    port = free_port()
    with running_nginx(nginx, folder, port, f'listen 127.0.0.1:{port}; {rules}\nlocation / {{ return 200 "app"; }}'):
        yield port


def answer(port: int, path: str) -> tuple[int, str | None, list[str]]:
    """Status, place, and the names of the headers."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as client:
        client.putrequest("GET", path, skip_host=False)
        client.endheaders()
        got = client.getresponse()
        got.read()
        return got.status, got.getheader("Location"), [name.lower() for name, _ in got.getheaders()]


def test_redirects_of_nginx(nginx: str, tmp_path: Path) -> None:
    until = datetime(2026, 11, 27, 22, tzinfo=UTC)
    for number, (now, code) in enumerate(((until - timedelta(seconds=1), 307), (until, 308))):
        state = redirects.status(now, until)
        rules = redirects.files(state)
        with served(nginx, tmp_path / str(number), rules["redirects/nginx.conf"]) as port:
            assert answer(port, "/deals")[:2] == (code, "/opportunities")
            assert answer(port, "/deals/12/show?tab=1&x=%20")[:2] == (code, "/opportunities/12/show?tab=1&x=%20")
            assert answer(port, "/deals/create")[:2] == (code, "/opportunities/create")
            assert answer(port, "/deals/")[:2] == (code, "/opportunities/")
            # what could forge a header or lead elsewhere is not carried over
            status, place, names = answer(port, "/deals/12%0d%0aSet-Cookie:%20a=b")
            assert (status, place) == (code, "/opportunities")
            assert "set-cookie" not in names
            assert (answer(port, "/deals//evil.example/")[1] or "").startswith("/opportunities")
            # neighbours are left alone
            assert answer(port, "/dealsheet")[0] == 200
            assert answer(port, "/contacts/1")[0] == 200
        vercel = json.loads(rules["redirects/vercel.json"])["redirects"]
        assert [rule["permanent"] for rule in vercel] == [code == 308] * 2
        assert vercel[1] == {
            "source": "/deals/:rest*",
            "destination": "/opportunities/:rest*",
            "permanent": code == 308,
        }
        lines = [line.split() for line in rules["redirects/_redirects"].splitlines() if line.startswith("/")]
        assert lines == [
            ["/deals", "/opportunities", "301!" if code == 308 else "302!"],
            ["/deals/*", "/opportunities/:splat", "301!" if code == 308 else "302!"],
        ]
        assert ("2026-11-27 22:00 UTC" in state.sentence) is (code == 307)


def load(connection: Connection, found: Catalog, rows: Fixtures) -> None:
    """Put fixtures into the emptied tables: every constraint and foreign key is asked, the in-step triggers are not."""
    tables = [sql.Identifier("public", name) for name in rows]
    connection.execute(sql.SQL("truncate {} cascade").format(sql.SQL(", ").join(tables)))
    for name, table in zip(rows, tables, strict=True):
        connection.execute(sql.SQL("alter table {} disable trigger user").format(table))
        if name == "sales":
            connection.execute(
                "insert into auth.users (id) select (told ->> 'user_id')::uuid from jsonb_array_elements(%s) as told"
                " where told ->> 'user_id' is not null on conflict do nothing",
                [Jsonb(rows[name])],
            )
        columns = [sql.Identifier(column.name) for column in found.relations[name].columns if not column.is_generated]
        connection.execute(
            sql.SQL(
                "insert into {0} ({1}) overriding system value select {1} from jsonb_populate_recordset(null::{0}, %s)"
            ).format(table, sql.SQL(", ").join(columns)),
            [Jsonb(rows[name])],
        )


def test_fixtures_are_whole_and_load_into_the_real_tables(
    migrated: Connection, make_settings: MakeSettings, tmp_path: Path
) -> None:
    migrated.execute('alter table public.opportunities add column "Own Score" smallint not null default 3')
    migrated.execute("update public.opportunities set contact_ids = contact_ids || '{999999,null}'::bigint[]")
    settings = make_settings(migrated)
    found = catalog.read(migrated, settings)
    migrated.execute("set session_replication_role = replica")
    for table, column in (
        *(("contacts", name) for name in ("first_name", "last_name", "background", "title")),
        *(("companies", name) for name in ("name", "address", "city", "website", "description")),
        *(("sales", name) for name in ("first_name", "last_name", "email")),
        *(("opportunities", name) for name in ("name", "description", "next_action")),
        *(("opportunity_notes", "text"), ("tasks", "text"), ("activities", "description")),
    ):
        migrated.execute(f"update public.{table} set {column} = 'Recognizable {table} ' || id")
    migrated.execute(
        'update public.contacts set email_jsonb = \'[{"email": "Recognizable"}]\', avatar = \'{"src": "Recognizable"}\''
    )
    migrated.execute("reset session_replication_role")
    write(migrated, settings, tmp_path, opportunities=20)
    subset: Fixtures = json.loads((tmp_path / "fixtures/subset.json").read_text(encoding="utf-8"))
    showcase: Fixtures = json.loads((tmp_path / "fixtures/showcase.json").read_text(encoding="utf-8"))
    assert len(subset["opportunities"]) == 20
    for rows in (subset, showcase):
        assert len(rows) == len(WHOLE)
        contacts = {row["id"] for row in rows["contacts"]}
        assert all(set(row["contact_ids"]) <= contacts for row in rows["opportunities"])
        for name, of_table in rows.items():
            wanted = {column.name for column in found.relations[name].columns}
            assert all(row.keys() == wanted for row in of_table), name
        with migrated.transaction(force_rollback=True):
            load(migrated, found, rows)
            assert value(migrated, "select count(*) from public.opportunities_summary") == len(rows["opportunities"])
            # the rules across tables hold as well
            assert (
                value(
                    migrated,
                    "select count(*) from public.principal_distributor_relationships as pair"
                    " join public.companies as principal on principal.id = principal_organization_id"
                    " join public.companies as distributor on distributor.id = distributor_organization_id"
                    " where not (principal.is_principal and distributor.is_distributor)",
                )
                == 0
            )
            assert (
                value(
                    migrated,
                    "select count(*) from public.contacts left join public.contact_organizations as link"
                    " on link.contact_id = contacts.id and link.is_primary_organization"
                    " where contacts.company_id is distinct from link.organization_id"
                    " and contacts.company_id is not null",
                )
                == 0
            )
    assert {row["stage"] for row in showcase["opportunities"]} == set(found.enums["public", "opportunity_stage"])
    assert all(showcase.values())

    # a fixture that refers outside does not load: the check is able to say no
    broken = {**subset, "companies": subset["companies"][1:]}
    with pytest.raises(psycopg.errors.ForeignKeyViolation), migrated.transaction():
        load(migrated, found, broken)

    # nobody is to be recognized, unless it is asked for
    shown = (tmp_path / "fixtures/subset.json").read_text(encoding="utf-8")
    assert "Recognizable" not in shown
    assert not write(migrated, settings, tmp_path, opportunities=20, real_data=True).masked
    shown = (tmp_path / "fixtures/subset.json").read_text(encoding="utf-8")
    assert all(f"Recognizable {table}" in shown for table in ("contacts", "companies", "sales", "tasks"))
    write(migrated, settings, tmp_path, opportunities=0)
    assert json.loads((tmp_path / "fixtures/subset.json").read_text(encoding="utf-8"))["opportunities"] == []


def test_kit_of_the_program_and_its_refusals(
    migrated_2026: Connection, legacy_2026: Connection, make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings = make_settings(migrated_2026)
    run = program(settings, "kit", "--out", str(tmp_path / "kit"), "--json")
    shown, said = run.communicate(timeout=100)
    assert run.returncode == 0, said
    document = json.loads(shown)
    assert document["schema"] == "crm-migrate/kit/1"
    assert document["redirect_status"] == 307
    assert document["switch_at"]
    assert {*document["files"]} == {
        str(path.relative_to(tmp_path / "kit")) for path in (tmp_path / "kit").rglob("*") if path.is_file()
    }
    scripts = json.loads((tmp_path / "kit/package.json").read_text())["scripts"]
    assert scripts["migrate:production"].endswith("crm-migrate apply")
    labels = json.loads((tmp_path / "kit/labels.json").read_text())
    assert labels["words"]["Deals"] == "Opportunities"
    assert labels["values"]["opportunity_stage"]["closed_won"] == "Closed won"
    assert labels["fields"]["opportunities"]["customer_organization_id"] == "Customer organization"

    # the guide names every file
    guide = (paths.DOCS / "frontend.md").read_text(encoding="utf-8")
    assert all(
        name.split("/")[0].split(".")[0] in guide for name in document["files"] if name not in ("README.md", "kit.json")
    )

    # the banner reads what the status page says
    interface = (tmp_path / "kit/banner.ts").read_text().split("interface Banner {")[1].split("}")[0]
    assert {line.split(":")[0].strip() for line in interface.strip().splitlines()} <= set(Banner.model_fields)

    # when nobody can roll back any more the redirects are permanent
    migrated_2026.execute("update crm_migration.runs set rollback_until = now() - interval '1 second'")
    assert write(migrated_2026, settings, tmp_path / "kit").redirect_status == 308

    (tmp_path / "else").mkdir()
    (tmp_path / "else/own.txt").touch()
    with pytest.raises(UsageError, match="not a kit"):
        write(migrated_2026, settings, tmp_path / "else")
    with pytest.raises(UsageError, match="cannot be written"):
        write(migrated_2026, settings, tmp_path / "else/own.txt")
    with pytest.raises(WrongState, match="not migrated"):
        write(legacy_2026, make_settings(legacy_2026), tmp_path / "legacy")
