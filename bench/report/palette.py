# SPDX-License-Identifier: MIT
"""Colours. A plot uses the light ones; in the page each becomes a CSS variable, so that the dark scheme has its own.

The series are Okabe and Ito's, which people with any colour vision can tell apart; line styles, markers and labels say the
same once more.
"""

LIGHT = {
    "ink": "#1b1b1a", "muted": "#5c5c58", "grid": "#d8d8d2",
    "blue": "#0072b2", "vermillion": "#d55e00", "green": "#009e73", "purple": "#b65c92", "orange": "#e69f00", "sky": "#56b4e9",
}
DARK = {
    "ink": "#ecece6", "muted": "#b0b0a8", "grid": "#45453f",
    "blue": "#4aa8e8", "vermillion": "#ff8a45", "green": "#2fc598", "purple": "#dd8fbe", "orange": "#f0b62f", "sky": "#8fd0f7",
}
VARIABLES = {colour: f"var(--{name})" for name, colour in LIGHT.items()}

STRATEGIES = {"owner_cas": "blue", "locked": "vermillion"}
POLICIES = {"exact": "green", "disjoint": "purple", "bounded": "orange"}
SPARE = ("sky", "green", "purple", "orange", "blue", "vermillion")


def assign(names, known):
    """A colour for each of `names`: its own if it is known, else one that nobody has."""
    taken = {known[n] for n in names if n in known}
    spare = [c for c in SPARE if c not in taken]
    unknown = [n for n in names if n not in known]
    chosen = {n: known[n] for n in names if n in known}
    chosen.update({n: spare[i % len(spare)] for i, n in enumerate(unknown)})
    return {n: LIGHT[c] for n, c in chosen.items()}


def css(scheme):
    return "".join(f"--{name}:{colour};" for name, colour in scheme.items())
