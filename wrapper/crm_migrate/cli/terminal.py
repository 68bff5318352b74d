"""The consoles: what is printed is text and never markup, and only the console itself commands the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from crm_migrate.controls import written_out


class _Console(Console):
    """A console that writes no control sequence but its own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments of a renderable; the texts among them command nothing."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(written_out(segment.text), segment.style)


def stdout() -> Console:
    """The console for results."""
    return _Console(highlight=False, soft_wrap=False, markup=False, emoji=False)


def stderr() -> Console:
    """The console for everything else."""
    return _Console(stderr=True, highlight=False, markup=False, emoji=False)
