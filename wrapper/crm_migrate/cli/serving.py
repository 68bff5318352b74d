"""The command that serves the web pages."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from crm_migrate.cli import app
from crm_migrate.cli.invocation import Invocation, invocation
from crm_migrate.cli.options import Config, Debug, Dsn, Json

if TYPE_CHECKING:
    from crm_migrate.web.server import Address


@app.command()
def serve(
    dsn: Dsn = None,
    config: Config = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--proxy",
            metavar="ADDRESS",
            help="A proxy elsewhere whose X-Forwarded-Proto is believed, as one on this machine is; repeatable.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Serve the status page for everybody, and reports and review console behind a token. Writes sign-offs only.

    Example: crm-migrate serve --port 8080
    """
    with invocation("serve", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate import log
        from crm_migrate.web import server

        log.open_log(call.settings, "serve")
        server.serve(
            call.settings,
            host=host,
            port=port,
            ready=lambda address: tell(call, address, json=json),
            proxies=proxy or (),
        )


def tell(call: Invocation, address: Address, *, json: bool) -> None:
    """Print where the pages are: the only time that the token is shown."""
    if json:
        call.document({"url": address.url, "review_url": address.review})
    else:
        print(f"Status page     {address.url}\nReview console  {address.review}")
        print("The second address lets in whoever has it. Ctrl-C ends both.", file=sys.stderr)
    if address.public:
        print("Others can reach this address: put a proxy with TLS in front of it.", file=sys.stderr)
    sys.stdout.flush()
