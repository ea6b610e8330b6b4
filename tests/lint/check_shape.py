#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Shape of a header: licence line, #pragma once, at most 500 lines of at most 140 columns."""
import tree

MOST_LINES = 500
MOST_COLUMNS = 140


def check(_root, headers):
    findings = []
    longest = max(headers, key=lambda h: len(h.lines))
    for h in headers:
        if not h.lines or h.lines[0] != "// SPDX-License-Identifier: MIT":
            findings.append(f"{h.shown()}:1: the first line is not '// SPDX-License-Identifier: MIT'")
        if len(h.lines) < 2 or h.lines[1] != "#pragma once":
            findings.append(f"{h.shown()}:2: the second line is not '#pragma once'")
        if len(h.lines) > MOST_LINES:
            findings.append(f"{h.shown()}: {len(h.lines)} lines, more than {MOST_LINES}")
        for number, line in enumerate(h.lines, 1):
            if len(line) > MOST_COLUMNS:
                findings.append(f"{h.shown()}:{number}: {len(line)} columns, more than {MOST_COLUMNS}")
            if line.rstrip() != line or "\t" in line:
                findings.append(f"{h.shown()}:{number}: tab or trailing space")
    lines = sum(len(h.lines) for h in headers)
    return findings, f"{len(headers)} headers, {lines} lines, longest {longest.shown()} with {len(longest.lines)}; {len(findings)} findings"


if __name__ == "__main__":
    tree.main(check, __doc__)
