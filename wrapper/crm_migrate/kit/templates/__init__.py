"""The kit's templates, and the one way to fill them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

# files of code and configuration, no pages: each template quotes what it is given in its own language
_environment = Environment(  # noqa: S701
    loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, keep_trailing_newline=True
)


def render(template: str, **values: Any) -> str:
    """A template with its values."""
    return _environment.get_template(template).render(**values)
