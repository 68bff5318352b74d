"""Charts as inline SVG: no script, no style of their own, every name escaped, readable without colour.

The colours are the page's: a chart is `bars one`, `bars two` (the first series outlined, the second filled) or `line`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

_WIDTH = 460
_FONT = 13
_LONGEST_LABEL = 36


@dataclass(frozen=True)
class Chart:
    """A drawing with its title, what it says in words, and how its two series are told apart."""

    title: str
    svg: Markup
    words: str
    legend: str = ""


def bars(
    title: str, rows: Sequence[tuple[str, Sequence[float | None]]], *, series: Sequence[str], unit: str = ""
) -> Chart:
    """Horizontal bars with their values, one group for each row.

    Args:
        rows: label and one value for each series; None draws no bar.
        series: names of the series; of two the first is outlined, the second filled.
    """
    import pygal

    labels = [_printable(label) for label, _ in rows]
    chart = pygal.HorizontalBar(
        **_options(height=40 + (16 + 14 * len(series)) * max(1, len(rows))),
        margin_right=60,
        show_legend=False,
        print_values=True,
        print_values_position="top",
        show_y_guides=False,
        value_formatter=lambda value: f"{_number(value)}{unit}",
    )
    # it draws from the bottom up
    chart.x_labels = [_short(label) for label in reversed(labels)]
    for number, name in enumerate(series):
        chart.add(name, list(reversed([values[number] for _, values in rows])))
    told = "; ".join(
        f"{label}: "
        + ", ".join(
            (f"{name} " if len(series) > 1 else "") + f"{_number(value)}{unit}"
            for name, value in zip(series, values, strict=True)
            if value is not None
        )
        for label, (_, values) in zip(labels, rows, strict=True)
    )
    if len(series) == 1:
        return Chart(title, _drawn(chart, "bars one", f"{title}. {told}"), told)
    legend = f"outlined {series[0]}, filled {series[1]}"
    return Chart(title, _drawn(chart, "bars two", f"{title}. {told}"), told, legend)


def line(title: str, points: Sequence[tuple[float, float]], *, unit: str = "", scale: float = 1.0) -> Chart:
    """A value over the seconds of a run.

    Args:
        points: seconds since the start, value.
        scale: what a value is divided by.
    """
    import pygal

    values = [(at, value / scale) for at, value in points]
    # the same number of a second would stand below several places of a short run
    decimals = 1 if values and values[-1][0] - values[0][0] < 10 else 0
    chart = pygal.XY(
        **_options(height=190),
        show_legend=False,
        show_dots=len(values) < 3,
        fill=True,
        include_x_axis=True,
        value_formatter=lambda value: f"{_number(value)}{unit}",
        x_value_formatter=lambda value: f"{value:,.{decimals}f} s",
        show_x_guides=False,
        show_y_guides=True,
        x_labels_major_count=6,
        show_minor_x_labels=False,
        y_labels_major_count=3,
        show_minor_y_labels=False,
    )
    chart.add(title, values)
    mean = sum(value for _, value in values) / max(1, len(values))
    peak = max((value for _, value in values), default=0.0)
    words = f"peak {_number(peak)}{unit}, mean {_number(mean)}{unit}"
    return Chart(title, _drawn(chart, "line", f"{title}: {words}"), words)


def _options(*, height: int) -> dict[str, Any]:
    from pygal.style import Style

    sizes = {
        f"{name}_font_size": _FONT for name in ("label", "major_label", "value", "value_label", "legend", "tooltip")
    }
    return {
        "css": [],
        "js": [],
        "width": _WIDTH,
        "height": height,
        "margin": 8,
        "spacing": 6,
        "style": Style(font_family="sans-serif", **sizes),
        "disable_xml_declaration": True,
        "truncate_label": -1,
        "no_data_text": "Nothing to draw",
    }


def _drawn(chart: Any, kind: str, description: str) -> Markup:
    root = chart.render_tree()
    for parent in list(root.iter()):
        for child in list(parent):
            # its own styles, scripts, tooltips and comments; the policy of a page would refuse the first two
            if not isinstance(child.tag, str) or _name(child) in ("defs", "title", "desc", "script", "style"):
                _remove(parent, child)
    for element in root.iter():
        for attribute in list(element.attrib):
            if attribute in ("style", "id") or attribute.startswith("on"):
                del element.attrib[attribute]
    root.set("class", f"chart {kind}")
    root.set("role", "img")
    root.set("aria-label", description)
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704  every text in it is a node of the tree


def _remove(parent: Any, child: Any) -> None:
    assert not (child.tail or "").strip(), "no text stands between elements"  # noqa: S101
    parent.remove(child)


def _name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _printable(text: str) -> str:
    # characters that XML does not know would make the drawing unreadable
    return "".join(letter if letter.isprintable() else "�" for letter in text[:200])


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"


def _number(value: float) -> str:
    if value == 0 or abs(value) >= 100 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 1 else f"{value:.2f}"
