# SPDX-License-Identifier: MIT
"""Turns a figure of matplotlib into SVG that can stand in the middle of an HTML page."""
import io
import re
import xml.etree.ElementTree as xml

import palette

# The layout is computed with matplotlib's own font, the page shows the reader's; most are a little narrower.
FONT = re.compile(r"'DejaVu Sans'[^;]*sans-serif")
REFERENCE = re.compile(r"url\(#([^)]+)\)")
COLOUR = re.compile(r"#[0-9a-f]{6}\b")
UNWANTED = {"metadata", "style"}  # RDF with network addresses; one rule for the whole page, which has it in its own style


def inline(figure, key, alt):
    """`figure` as an <svg> element whose ids start with `key`, so that they are unique in the page; `alt` says what it shows."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = xml.fromstring(buffer.getvalue())
    strip(root, key)
    _, _, width, height = root.get("viewBox").split()
    kept = {"class": "plot", "viewBox": f"0 0 {width} {height}", "role": "img", "aria-label": alt}
    root.attrib.clear()
    root.attrib.update(kept)
    return xml.tostring(root, encoding="unicode")


def strip(element, key):
    """Removes namespaces (HTML needs none) and what the page does not want, and makes ids unique and colours the page's."""
    element.tag = local(element.tag)
    for child in [c for c in element if not isinstance(c.tag, str) or local(c.tag) in UNWANTED]:
        element.remove(child)
    element.attrib = {local(name): value_of(local(name), value, key) for name, value in element.attrib.items()}
    if element.text is not None and not element.text.strip():
        element.text = None
    element.tail = None
    for child in element:
        strip(child, key)


def local(name):
    return name.rpartition("}")[2]


def value_of(name, value, key):
    if name == "id":
        return f"{key}-{value}"
    if name == "href":
        return f"#{key}-{value[1:]}"
    if name == "style":
        value = FONT.sub("system-ui, sans-serif", value)
    value = COLOUR.sub(lambda m: palette.VARIABLES.get(m.group(), m.group()), value)
    return REFERENCE.sub(rf"url(#{key}-\1)", value)
