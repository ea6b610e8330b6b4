#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""expect_failure.py CASE.cpp -- COMPILER FLAG...

CASE has one or more lines `// EXPECT: text` and a mistake inside `#ifndef CONTROL`. With -DCONTROL it must compile, so that
the mistake alone is to blame; without it must not, and every text must be part of the compiler's words, quoted source left out (texts
that differ between compilers: `// EXPECT: one | other`).
"""
import pathlib
import re
import subprocess
import sys

case = pathlib.Path(sys.argv[1])
compiler = sys.argv[sys.argv.index("--") + 1:] + ["-fsyntax-only", str(case)]
expected = re.findall(r"^// EXPECT: (.+)$", case.read_text(encoding="utf-8"), re.MULTILINE)
if not expected:
    sys.exit(f"{case}: no '// EXPECT:' line")

control = subprocess.run(compiler + ["-DCONTROL"], capture_output=True, text=True, check=False)
if control.returncode != 0:
    sys.exit(f"{case}: the control without the mistake does not compile:\n{control.stderr}")

run = subprocess.run(compiler, capture_output=True, text=True, check=False)
if run.returncode == 0:
    sys.exit(f"{case}: the mistake compiles")
errors = "\n".join(line for line in run.stderr.splitlines() if not re.match(r"\s*\d*\s*\|", line))  # no quoted source
for text in expected:
    if not any(choice.strip() in errors for choice in text.split("|")):
        sys.exit(f"{case}: no message contains '{text}':\n{run.stderr}")
print(f"{case.stem}: refused as expected")
