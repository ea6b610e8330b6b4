#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every header is as clang-format-19 writes it with the project's .clang-format. Needs that program; exits 77 without it."""
import difflib
import shutil
import subprocess
import sys

import tree

PROGRAM = "clang-format-19"


def check(root, headers):
    findings = []
    for h in headers:
        file = f"{root}/include/{h.path}"
        formatted = subprocess.run([PROGRAM, file], capture_output=True, text=True, check=True).stdout.splitlines()
        changes = difflib.SequenceMatcher(None, h.lines, formatted, autojunk=False).get_opcodes()
        lines = [first + 1 for kind, first, *_ in changes if kind != "equal"]
        if lines:
            places = ", ".join(str(n) for n in lines[:8]) + (", ..." if len(lines) > 8 else "")
            findings.append(f"{h.shown()}: {PROGRAM} would change line {places}")
    return findings, f"{len(headers)} headers, {len(findings)} not in the house format"


if __name__ == "__main__":
    if not shutil.which(PROGRAM):
        print(f"skipped: {PROGRAM} is not installed")
        sys.exit(77)
    tree.main(check, __doc__)
