#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""README's C++ example: every line of it stands in docs/examples/unmap.cpp, which the tests build and run."""
import pathlib
import re
import sys


def code_lines(text):
    """Lines without comments, blanks and indentation."""
    lines = (re.sub(r"\s*//.*$", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


def check(root):
    readme = (root / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```cpp\n(.*?)```", readme, re.S)
    if not blocks:
        return ["README.md: no C++ example"], 0
    program = set(code_lines((root / "docs/examples/unmap.cpp").read_text(encoding="utf-8")))
    lines = [line for block in blocks for line in code_lines(block)]
    findings = [f"README.md: not in docs/examples/unmap.cpp: {line}" for line in lines if line not in program]
    for command in ("./run bench", "./run test"):
        if command not in readme:
            findings.append(f"README.md: does not show {command}")
    return findings, len(lines)


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2]
    found, count = check(root)
    print("\n".join(found))
    print(f"{count} lines of example, {len(found)} findings")
    sys.exit(1 if found else 0)
