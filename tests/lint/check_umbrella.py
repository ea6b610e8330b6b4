#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The umbrella shootdown.hpp reaches every header of the core and no header above it."""
import tree

UMBRELLA = "shootdown/shootdown.hpp"


def check(_root, headers):
    by_path = {h.path: h for h in headers}
    if UMBRELLA not in by_path:
        return [f"include/{UMBRELLA} does not exist"], "no umbrella"
    reached, open_ends = {UMBRELLA}, [UMBRELLA]
    while open_ends:
        for _line, _bracket, target in by_path[open_ends.pop()].includes():
            if target in by_path and target not in reached:
                reached.add(target)
                open_ends.append(target)
    findings = [f"include/{UMBRELLA} does not reach {h.shown()}" for h in headers if h.room in tree.CORE and h.path not in reached]
    findings += [f"include/{UMBRELLA} reaches {h.shown()}" for h in headers if h.room in tree.HOSTED and h.path in reached]
    return findings, f"{len(reached) - 1} headers reached, {len(findings)} findings"


if __name__ == "__main__":
    tree.main(check, __doc__)
