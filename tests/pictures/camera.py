"""Takes a picture of a page, and keeps it small: a palette instead of true colours."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

from playwright.sync_api import Browser, FloatRect, Page, ViewportSize

from pictures.album import Picture

# a palette holds so many
COLOURS = 256
# beside a part of a page, and above and below it, where its neighbours begin
BESIDE, ABOVE = 16, 6

# As few bits of each colour as make a palette of it; what falls together takes the most frequent of its colours.
_TO_PALETTE = """
async ([picture, colours]) => {
  const bytes = Uint8Array.from(atob(picture), letter => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], {type: 'image/png'}));
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height), context = canvas.getContext('2d');
  context.drawImage(bitmap, 0, 0);
  const data = new Uint32Array(context.getImageData(0, 0, bitmap.width, bitmap.height).data.buffer);
  const count = new Map();
  for (const pixel of data) count.set(pixel, (count.get(pixel) || 0) + 1);
  const frequent = [...count].sort((a, b) => b[1] - a[1] || a[0] - b[0]).map(entry => entry[0]);
  const part = (colour, shift) => (colour >> shift) & 255;
  let bits = 8, palette, place;
  do {
    const coarse = colour => [0, 8, 16].map(shift => Math.round(part(colour, shift) * (2 ** bits - 1) / 255)).join();
    const first = new Map();
    for (const colour of frequent) if (!first.has(coarse(colour))) first.set(coarse(colour), colour);
    palette = [...first.values()];
    const index = new Map([...first.keys()].map((key, at) => [key, at]));
    place = new Map(frequent.map(colour => [colour, index.get(coarse(colour))]));
    bits -= 1;
  } while (palette.length > colours);
  let text = '';
  for (const pixel of data) text += String.fromCharCode(place.get(pixel));
  const parts = palette.flatMap(colour => [0, 8, 16].map(shift => part(colour, shift)));
  return [bitmap.width, bitmap.height, parts, btoa(text)];
}
"""


def open_page(browser: Browser, picture: Picture) -> Page:
    """A window of the picture's size, with nothing of another one in it."""
    viewport: ViewportSize = {"width": picture.width, "height": picture.height}
    return browser.new_context(
        viewport=viewport, timezone_id="Europe/Zurich", locale="en-GB", color_scheme="light", device_scale_factor=1
    ).new_page()


def take(page: Page, picture: Picture, folder: Path) -> Path:
    """Write what the page shows now."""
    target = folder / picture.file
    target.write_bytes(_with_palette(page, page.screenshot(full_page=True, clip=_clip(page, picture))))
    return target


def _clip(page: Page, picture: Picture) -> FloatRect:
    if picture.part is None:
        last = _box(page, picture, picture.until) if picture.until else None
        height = last["y"] + last["height"] + BESIDE if last else picture.height
        return {"x": 0, "y": 0, "width": picture.width, "height": height}
    box = _box(page, picture, picture.part)
    left, top = max(0, box["x"] - BESIDE), max(0, box["y"] - ABOVE)
    width = min(picture.width, box["x"] + box["width"] + BESIDE) - left
    return {"x": left, "y": top, "width": width, "height": box["y"] + box["height"] + ABOVE - top}


def _box(page: Page, picture: Picture, selector: str) -> FloatRect:
    box = page.locator(selector).first.bounding_box()
    assert box is not None, f"{picture.path} has nothing like {selector}"
    return box


def _with_palette(page: Page, png: bytes) -> bytes:
    width, height, palette, pixels = page.evaluate(_TO_PALETTE, [base64.b64encode(png).decode(), COLOURS])
    indices = base64.b64decode(pixels)
    # each line begins with its filter: none
    lines = b"".join(b"\0" + indices[start : start + width] for start in range(0, width * height, width))
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + _chunk(b"PLTE", bytes(palette))
        + _chunk(b"IDAT", zlib.compress(lines, 9))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
