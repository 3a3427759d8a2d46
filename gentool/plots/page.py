"""HTML pages that stand alone: their style, and pictures inside them. No links, no scripts."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

STYLE = """
:root { color-scheme: light dark; --paper: #fcfcfb; --ink: #1d2129; --faint: #667; --rule: #dfe1e5; --card: #fff;
  --train: #2f6fb7; --valid: #d9702b; }
@media (prefers-color-scheme: dark) { :root { --paper: #14161a; --ink: #e4e6ea; --faint: #9aa0aa; --rule: #30343b;
  --card: #1b1e23; --train: #6ea8e6; --valid: #f0995a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 1180px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .8rem; }
h3 { font-size: .9rem; font-weight: 600; margin: 0; } p { margin: .2rem 0; color: var(--faint); }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: .8rem; margin: 1.4rem 0 0; }
dt { font-size: .78rem; color: var(--faint); } dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)); gap: 1rem; }
.card, figure { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: .8rem; margin: 0; }
.card header { display: flex; justify-content: space-between; gap: .8rem; flex-wrap: wrap; }
.key { font-size: .8rem; color: var(--faint); white-space: nowrap; margin-left: .8rem; } .key b { font-weight: 600; }
.key.train b { color: var(--train); } .key.valid b { color: var(--valid); }
.chart { display: block; width: 100%; height: auto; margin-top: .4rem; overflow: visible; }
.chart text { font-size: 11px; fill: var(--faint); } .grid { stroke: var(--rule); } .axis { stroke: var(--faint); }
polyline { fill: none; stroke-width: 1.6; stroke-linejoin: round; vector-effect: non-scaling-stroke; }
polyline.train { stroke: var(--train); } polyline.valid { stroke: var(--valid); }
circle.train, .bar { fill: var(--train); } circle.valid { fill: var(--valid); }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(250px, 100%), 1fr)); gap: 1rem;
  align-items: start; }
figure img { display: block; width: 100%; height: auto; } .pixels { image-rendering: pixelated; }
figcaption { font-size: .8rem; color: var(--faint); margin-top: .4rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem 1.4rem .25rem 0; text-align: right; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; } th { font-size: .8rem; color: var(--faint); font-weight: 500; }
details { margin-top: 2.2rem; } summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; padding: 1rem; background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  font: 13px/1.45 ui-monospace, Menlo, Consolas, monospace; }
"""


def page(title: str, body: Sequence[str], style: str = "") -> str:
    """Return a whole page.

    Args:
        title: of the window.
        body: elements, in order.
        style: what is added to the common style.

    Returns:
        The HTML text.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def figure(path: Path, caption: str) -> str:
    """Return a `<figure>` that holds a picture's own bytes.

    Args:
        path: a PNG or GIF file.
        caption: stands below it.

    Returns:
        The element.
    """
    from PIL import Image

    with Image.open(path) as picture:
        width, height = picture.size
    kind = ' class="pixels"' if width < 400 else ""  # small grids show their pixels, large ones are scaled smoothly
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    source = f"data:image/{path.suffix[1:]};base64,{data}"
    image = f'<img{kind} src="{source}" width="{width}" height="{height}" alt="{escape(caption)}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
