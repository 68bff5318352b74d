"""Routes of the review console: the checklist of the administrators as pages to work with. They want the token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from crm_migrate import database, sign_offs, verification
from crm_migrate.database import Connection
from crm_migrate.settings import Settings
from crm_migrate.web import pages, review_lists, review_records
from crm_migrate.web.entry import Entry, over_tls
from crm_migrate.web.poller import read_only
from crm_migrate.web.review_records import KINDS, OF_ENTITY, Review

APPLICATION = "crm-migrate review"
SAMPLES_ON_A_PAGE = 10
_REVIEWER = "crm_migrate_reviewer"

Samples = Sequence[tuple[str, int]]


class Console:
    """What the pages share: connections that only read, and which records are sampled."""

    def __init__(self, settings: Settings, entry: Entry) -> None:
        self.settings = settings
        self.entry = entry
        self._samples: dict[str, Samples] = {}

    @contextmanager
    def reading(self) -> Iterator[tuple[Connection, Review | None]]:
        """A connection that cannot write, and the migration to review."""
        with read_only(self.settings, APPLICATION) as connection:
            yield connection, review_records.reviewed(connection, self.settings)

    def samples(self, connection: Connection, review: Review) -> Samples:
        """The sampled records, none without the archive; drawn once, since the same seed draws the same."""
        if not review.has_archive:
            return ()
        if review.run_id not in self._samples:
            drawn = verification.sampled_keys(
                connection,
                self.settings,
                review.run_id,
                review.legacy,
                self.settings.sample_size,
                self.settings.sample_seed,
            )
            self._samples[review.run_id] = [(pair.entity, key) for pair, keys in drawn for key in keys]
        return self._samples[review.run_id]

    def page(self, request: Request, template: str, **values: Any) -> HTMLResponse:
        """A page of the console."""
        return pages.page(
            template,
            form_token=self.entry.form_token,
            reviewer=unquote(request.cookies.get(_REVIEWER, ""))[: sign_offs.LONGEST_NAME],
            back=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            kinds=OF_ENTITY,
            **values,
        )

    def nothing(self, request: Request, here: str) -> HTMLResponse:
        """What is shown before there is anything to review."""
        return self.page(request, "nothing.html", here=here)


def routes(settings: Settings, entry: Entry) -> APIRouter:
    """The console's routes."""
    router = APIRouter(include_in_schema=False)
    inside = APIRouter(dependencies=[Depends(entry.require)])
    console = Console(settings, entry)

    @router.get("/review")
    def checklist(request: Request) -> Response:
        arrived = entry.come_in(request)
        if arrived is not None:
            return arrived
        entry.require(request)
        return _checklist(console, request)

    @inside.get("/review/samples")
    def samples(request: Request, page: int = 1) -> Response:
        return _samples(console, request, page)

    @inside.get("/review/{kind}")
    def listed(
        request: Request, kind: str, q: str = "", after: int | None = None, before: int | None = None
    ) -> Response:
        if kind not in KINDS or not KINDS[kind].listed:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        with console.reading() as (connection, review):
            if review is None:
                return console.nothing(request, kind)
            page = review_lists.page(connection, settings, kind, search=q, after=after, before=before)
            return console.page(request, "list.html", here=kind, kind=KINDS[kind], page=page, search=q)

    @inside.get("/review/{kind}/{key}")
    def record(request: Request, kind: str, key: int) -> Response:
        if kind not in KINDS:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        with console.reading() as (connection, review):
            if review is None:
                return console.nothing(request, kind)
            if not (review.has_archive or KINDS[kind].has_story):
                return console.page(request, "purged.html", code=HTTPStatus.GONE, here=kind)
            found = review_records.read(connection, settings, review, KINDS[kind], key)
            signed = sign_offs.of(connection, review.run_id, [found.item]).get(found.item)
            return console.page(request, "record.html", here=kind, record=found, signed=signed)

    @inside.post("/review/sign-off")
    async def sign_off(request: Request) -> Response:
        fields = await entry.form(request)
        return await run_in_threadpool(_sign, console, fields, secure=over_tls(request))

    router.include_router(inside)
    return router


def _checklist(console: Console, request: Request) -> HTMLResponse:
    with console.reading() as (connection, review):
        if review is None:
            return console.nothing(request, "review")
        sections = []
        for section in review_lists.CHECKLIST:
            rows = review_lists.query(connection, console.settings, section.query)
            sections.append((section, [{**row, "item": _item(section.kind, row)} for row in rows]))
        samples = [(entity, str(key)) for entity, key in console.samples(connection, review)]
        listed = [row["item"] for _, rows in sections for row in rows]
        signed = sign_offs.of(connection, review.run_id, {*listed, *samples})
        return console.page(
            request,
            "checklist.html",
            here="review",
            sections=sections,
            signed=signed,
            has_archive=review.has_archive,
            samples=len(samples),
            samples_signed=sum(item in signed for item in samples),
            total=len({*listed, *samples}),
            wrong=sum(said.verdict == "wrong" for said in signed.values()),
        )


def _item(kind: str, row: Mapping[str, Any]) -> tuple[str, str]:
    """What is signed off for a row: an activity that was built is looked at as the task it was."""
    if kind == "activities" and row["legacy_task_id"] is not None:
        return "tasks", str(row["legacy_task_id"])
    return KINDS[kind].entity, str(row["id"])


def _samples(console: Console, request: Request, page: int) -> HTMLResponse:
    with console.reading() as (connection, review):
        if review is None:
            return console.nothing(request, "samples")
        drawn = console.samples(connection, review)
        last = max(1, -(-len(drawn) // SAMPLES_ON_A_PAGE))
        page = min(max(1, page), last)
        shown = drawn[(page - 1) * SAMPLES_ON_A_PAGE : page * SAMPLES_ON_A_PAGE]
        records = [
            record
            for entity, key in shown
            if (record := review_records.compare(connection, console.settings, review, entity, key)) is not None
        ]
        signed = sign_offs.of(connection, review.run_id, [(entity, str(key)) for entity, key in drawn])
        return console.page(
            request,
            "samples.html",
            here="samples",
            has_archive=review.has_archive,
            records=records,
            signed=signed,
            page=page,
            last=last,
            total=len(drawn),
        )


def _sign(console: Console, fields: Mapping[str, str], *, secure: bool) -> Response:
    entity, key = fields.get("entity", ""), fields.get("key", "")
    if entity not in OF_ENTITY or not key.removeprefix("-").isascii() or not key.removeprefix("-").isdigit():
        raise HTTPException(HTTPStatus.BAD_REQUEST)
    name = fields.get("name", "")
    with database.connect(console.settings, application=APPLICATION) as connection:
        review = review_records.reviewed(connection, console.settings)
        if review is None:
            raise HTTPException(HTTPStatus.CONFLICT)
        # what nobody can have looked at is not signed off
        review_records.read(connection, console.settings, review, OF_ENTITY[entity], int(key))
        sign_offs.sign(
            connection,
            console.settings,
            review.run_id,
            entity,
            key,
            verdict=fields.get("verdict", ""),
            signed_by=name,
            note=fields.get("note", ""),
        )
    answer = RedirectResponse(_back(fields.get("back", "")), status_code=HTTPStatus.SEE_OTHER)
    answer.set_cookie(_REVIEWER, quote(name.strip()), path="/review", httponly=True, samesite="strict", secure=secure)
    return answer


def _back(wanted: str) -> str:
    """Where the form was, if it was one of these pages."""
    return wanted if wanted.startswith("/review/") and "\\" not in wanted and wanted.isprintable() else "/review"
