#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Proves that a check can fail: runs check_<name>.py on fixtures/<name>/ and compares with fixtures/<name>/expected.txt."""
import difflib
import pathlib
import subprocess
import sys

here = pathlib.Path(__file__).resolve().parent
name = sys.argv[1]
fixture = here / "fixtures" / name
run = subprocess.run([sys.executable, here / f"check_{name}.py", "--root", fixture], capture_output=True, text=True, check=False)
if run.returncode == 77:
    print(run.stdout, end="")
    sys.exit(77)
expected = (fixture / "expected.txt").read_text(encoding="utf-8")
if run.returncode != 1 or run.stdout != expected or run.stderr:
    print(f"exit status {run.returncode}, 1 is expected")
    print(run.stderr, end="")
    sys.stdout.writelines(difflib.unified_diff(expected.splitlines(True), run.stdout.splitlines(True), "expected.txt", "found"))
    sys.exit(1)
print(f"{name}: {len(expected.splitlines()) - 1} planted findings, all found")
