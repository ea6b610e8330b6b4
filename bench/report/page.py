# SPDX-License-Identifier: MIT
"""Puts the sections together: one HTML file that needs nothing else."""
import pathlib

import palette
import sections

STYLE = pathlib.Path(__file__).with_name("style.css")
CONTENTS = (("latency", "Latency"), ("recorded", "Against Linux"), ("throughput", "Throughput"), ("cover", "Range cover"),
            ("summary", "Table"), ("machine", "Machine"), ("method", "Method"))


def style():
    light, dark = palette.css(palette.LIGHT), palette.css(palette.DARK)
    return f":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n" + STYLE.read_text(encoding="utf-8")


def render(results):
    links = "".join(f'<a href="#{key}">{name}</a>' for key, name in CONTENTS)
    body = (sections.verdict(results), f'<nav aria-label="Contents">{links}</nav>', sections.latency(results),
            sections.recorded(results), sections.throughput(results), sections.cover(results), sections.summary(results),
            sections.machine(results), sections.method(results))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>shootdown: what an unmap costs</title>
<style>
{style()}</style>
</head>
<body>
<main>
<h1>shootdown: what an unmap costs</h1>
{chr(10).join(body)}
</main>
</body>
</html>
"""
