# SPDX-License-Identifier: MIT
"""Generated mutants: every memory order with its one-step weakenings, every fence and every device barrier of the algorithms.

enumerate_sites(root) reads the headers and answers a list of {file, line, column, call_line, end_line, operation, kind, from, to}:
    kind "order"        the order at line:column of `operation` becomes `to`; a failure order counts as that of a load
    kind "full_fence"   Env::full_fence() is left out
    kind "dma_publish", "dma_observe"   the call is left out: only a device that does not snoop can tell
    kind "publish", "dereference"       Env::rcu's pointer store (release) or load (acquire) becomes relaxed
line, column: of the text that changes, counted from 1. call_line and end_line: where the call's name and its closing
parenthesis stand, for a tool that knows an operation by the place of the call. relaxed has nothing weaker and is left out.
"""
import pathlib
import re

PLACES = ("invs/*.hpp", "queue/*.hpp", "table/*.hpp", "device/*.hpp", "port/*.hpp", "env/spinlock.hpp")

LOAD = {"seq_cst": ("acquire",), "acquire": ("relaxed",)}
STORE = {"seq_cst": ("release",), "release": ("relaxed",)}
MODIFY = {"seq_cst": ("acq_rel",), "acq_rel": ("acquire", "release"), "acquire": ("relaxed",), "release": ("relaxed",)}
OPERATIONS = {"load": LOAD, "store": STORE, "store_low": STORE, "exchange": MODIFY,
              **{f"fetch_{what}": MODIFY for what in ("add", "sub", "and", "or", "xor")}}
COMPARE = ("compare_exchange_weak", "compare_exchange_strong")

ORDER = re.compile(r"\bstd::memory_order(?:_|::)(seq_cst|acq_rel|acquire|release|consume|relaxed)\b")
CALL = re.compile(r"\bEnv::(full_fence|dma_publish|dma_observe|rcu::publish|rcu::dereference)\s*\(")
REMOVED = {"full_fence", "dma_publish", "dma_observe"}
RCU = {"rcu::publish": ("publish", "release"), "rcu::dereference": ("dereference", "acquire")}


class SiteError(Exception):
    """A memory order in a place that the enumeration does not understand: better said than left out."""


def mask(text):
    """The text with comments and the contents of literals blanked; every other character stays where it is."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|(?<![0-9A-Za-z_])\'(?:\\.|[^\'\\\n])*\'', re.S)
    return pattern.sub(lambda m: "".join(c if c == "\n" else " " for c in m.group(0)), text)


def enclosing_call(code, at):
    """(name, offset of the name, index of the argument that `at` lies in) of the innermost call around it."""
    depth = commas = 0
    for i in range(at - 1, -1, -1):
        c = code[i]
        if c in ")]}":
            depth += 1
        elif c in "([{":
            if depth:
                depth -= 1
                continue
            name = re.search(r"([A-Za-z_]\w*)\s*$", code[:i])
            if c != "(" or not name:
                return None
            return name.group(1), name.start(1), commas
        elif depth == 0 and c == ",":
            commas += 1
        elif depth == 0 and c == ";":
            return None
    return None


def end_of_call(code, name_at):
    depth = 0
    for i in range(code.index("(", name_at), len(code)):
        depth += {"(": 1, ")": -1}.get(code[i], 0)
        if depth == 0:
            return i
    return len(code) - 1


def steps(operation, argument, order):
    """The orders one step below `order` for argument number `argument` of the operation."""
    if operation in COMPARE:  # (expected, desired, success, failure)
        return (MODIFY if argument == 2 else LOAD).get(order, ())
    return OPERATIONS[operation].get(order, ())


def of_text(text, shown):
    """The sites of one header."""
    code = mask(text)
    line_of = lambda offset: code.count("\n", 0, offset) + 1
    column_of = lambda offset: offset - code.rfind("\n", 0, offset)
    found = []

    def add(offset, name_at, operation, kind, was, to):
        found.append({"file": shown, "line": line_of(offset), "column": column_of(offset), "call_line": line_of(name_at),
                      "end_line": line_of(end_of_call(code, name_at)), "operation": operation, "kind": kind, "from": was, "to": to})

    for match in ORDER.finditer(code):
        call = enclosing_call(code, match.start())
        if call is None or (call[0] not in OPERATIONS and call[0] not in COMPARE):
            raise SiteError(f"{shown}:{line_of(match.start())}: {match.group(0)} belongs to no atomic operation")
        for to in steps(call[0], call[2], match.group(1)):
            add(match.start(), call[1], call[0], "order", match.group(1), to)
    for match in CALL.finditer(code):
        what = match.group(1)
        if what in REMOVED:
            add(match.start(), match.start(), what, what, "present", "absent")
        else:
            kind, order = RCU[what]
            add(match.start(), match.start(), what, kind, order, "relaxed")
    return sorted(found, key=lambda s: (s["line"], s["column"], s["to"]))


def enumerate_sites(root):
    """Those of every header of the algorithms, in the order of files and lines."""
    base = pathlib.Path(root) / "include" / "shootdown"
    return [site for place in PLACES for path in sorted(base.glob(place))
            for site in of_text(path.read_text(encoding="utf-8"), path.relative_to(base).as_posix())]
