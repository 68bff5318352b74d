"""A real pseudo-terminal of 80 columns and 24 lines, and what a person would see on it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence

COLUMNS, ROWS = 80, 24
_TOKEN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b.|[\s\S]")
# foreground and background colours; bold and dim are none
COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;[0-9;]*)?m")


class Screen:
    """A program on a terminal of its own. It knows the few sequences that are used here, and refuses others."""

    def __init__(self, command: Sequence[str], environ: dict[str, str]) -> None:
        self._terminal, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        own = {key: value for key, value in environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR", "TERM")}
        self.process = subprocess.Popen(
            command,
            env={**own, "TERM": "xterm-256color", **{key: environ[key] for key in ("NO_COLOR",) if key in environ}},
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
        )
        os.close(other)
        self.written = ""

    def read_until(self, true: Callable[[str], bool], seconds: float = 60) -> str:
        """Read on until this is true of the screen; what is on it then."""
        deadline = time.monotonic() + seconds
        more = True
        while not true(shown := self.shown()):
            assert more, f"the program ended:\n{shown}"
            assert time.monotonic() < deadline, f"it did not come on the screen:\n{shown}"
            more = self._read()
        return shown

    def end(self, seconds: float = 60) -> str:
        """Read to the end of the program; what is on the screen then."""
        deadline = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < deadline, "the program did not end"
        self.process.wait(timeout=20)
        os.close(self._terminal)
        return self.shown()

    def shown(self) -> str:
        """The last lines that fit the screen; nothing was written beyond its right border."""
        lines, row, column = [""], 0, 0
        for token in _TOKEN.findall(self.written):
            if token[0] == "\x1b":
                number = int(re.sub(r"\D", "", token) or 1)
                if token[-1] == "A":
                    row = max(0, row - number)
                elif token[-1] == "K":
                    lines[row] = ""
                else:
                    assert token[-1] in "mhl", f"not known: {token!r}"
            elif token == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif token == "\r":
                column = 0
            else:
                assert column < COLUMNS, f"wider than the terminal: {lines[row]}{token}"
                lines[row] = lines[row].ljust(column)[:column] + token + lines[row][column + 1 :]
                column += 1
        return "\n".join(line.rstrip() for line in lines[-ROWS:])

    def lines(self) -> int:
        """How many lines there are, scrolled away or not."""
        return self.written.count("\n") - sum(int(up or 1) for up in re.findall(r"\x1b\[(\d*)A", self.written))

    def _read(self) -> bool:
        """Read what there is, waiting a moment for it; False at the end."""
        ready, _, _ = select.select([self._terminal], [], [], 0.2)
        if not ready:
            return True
        try:
            found = os.read(self._terminal, 65536)
        except OSError:
            # nobody has the other side open any more
            return False
        self.written += found.decode(errors="replace")
        return bool(found)
