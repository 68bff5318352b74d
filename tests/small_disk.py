"""A small file system in memory that a test may fill: mounted, or kept by a process in a namespace of its own."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class SmallDisk:
    """Its folder; everything in it is gone with the disk."""

    path: Path

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"

    def fill(self) -> None:
        """Leave not one byte."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (MEGABYTE, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"\0" * size)
        assert self.is_full()

    def is_full(self) -> bool:
        """Whether the next byte is refused."""
        try:
            (self.path / "probe").write_bytes(b"x")
        except OSError as error:
            return error.errno == errno.ENOSPC
        finally:
            (self.path / "probe").unlink(missing_ok=True)
        return False

    def make_room(self) -> None:
        """Take the ballast out again."""
        self._ballast.unlink()


@contextmanager
def small_disk(size: int) -> Iterator[SmallDisk]:
    """A file system of so many bytes, that every account may enter."""
    folder = Path(tempfile.mkdtemp(prefix="crm-disk-"))
    folder.chmod(0o755)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(folder)]
    try:
        if subprocess.run(mount, check=False, capture_output=True).returncode == 0:
            try:
                yield SmallDisk(folder)
            finally:
                subprocess.run(["umount", "--lazy", str(folder)], check=True)
        else:
            with _in_a_namespace(mount, folder) as inside:
                yield SmallDisk(inside)
    finally:
        shutil.rmtree(folder)


@contextmanager
def _in_a_namespace(mount: list[str], folder: Path) -> Iterator[Path]:
    """Without root: a process of this account may mount what only it sees, and lends it through its entry in /proc."""
    process = subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", '"$@" && echo mounted && cat', "sh", *mount],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "mounted\n":
            said = process.communicate()[1]
            pytest.fail(f"A small file system can be mounted neither by root nor in a user namespace: {said}")
        inside = Path(f"/proc/{process.pid}/root{folder}")
        assert os.statvfs(inside).f_blocks, "the file system is not reached through /proc"
        yield inside
    finally:
        process.communicate()
