"""A real nginx for tests: of the system's packages, installed where this account may do so."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def find() -> str:
    """The program; a test fails where there is none and none can be had."""
    places = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    found = shutil.which("nginx", path=places)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "nginx-light"]):
            subprocess.run(["apt-get", *command], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, check=False)
        found = shutil.which("nginx", path=places)
    if found is None:
        pytest.fail(
            "nginx is not installed, and this account may not install it (on Debian: apt-get install nginx-light)"
        )
    return found


@contextmanager
def running(program: str, folder: Path, port: int, server: str) -> Iterator[None]:
    """nginx with one server that listens on this port.

    Args:
        server: what stands in its `server` block, with its `listen`.
    """
    folder.mkdir()
    (folder / "nginx.conf").write_text(
        f"""
        daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
        events {{}}
        http {{
            access_log off; client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
            uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
            server {{ {server} }}
        }}
        """,
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    )
    try:
        deadline = time.monotonic() + 10
        while process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        else:
            pytest.fail(f"nginx does not listen: {(folder / 'error.log').read_text(encoding='utf-8')}")
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)
