#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compiles one translation unit as a kernel would and lists what it needs from outside: only mem* is allowed.

    check_symbols.py --include DIR --nm NM SOURCE -- COMPILER FLAG...

Exit status 77 (skipped) when COMPILER or NM is not installed.
"""
import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

ALLOWED = {"memcpy", "memmove", "memset", "memcmp"}
FLAGS = ["-std=c++20", "-O2", "-ffreestanding", "-fno-exceptions", "-fno-rtti", "-fno-pic", "-fno-stack-protector",
         "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]

split = sys.argv.index("--")
command = sys.argv[split + 1:]
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--include", required=True)
parser.add_argument("--nm", default="nm")
parser.add_argument("source", type=pathlib.Path)
arguments = parser.parse_args(sys.argv[1:split])

for program in (command[0], arguments.nm):
    if not shutil.which(program):
        print(f"skipped: {program} is not installed")
        sys.exit(77)

with tempfile.TemporaryDirectory() as scratch:
    built = pathlib.Path(scratch) / "core.o"
    compile_line = command + FLAGS + ["-I", arguments.include, "-c", str(arguments.source), "-o", str(built)]
    if subprocess.run(compile_line, check=False).returncode != 0:
        print("does not compile:", " ".join(compile_line))
        sys.exit(1)
    listing = subprocess.run([arguments.nm, "-C", "--undefined-only", built], capture_output=True, text=True, check=True).stdout
    defined = subprocess.run([arguments.nm, "--defined-only", built], capture_output=True, text=True, check=True).stdout

undefined = sorted(line.split(maxsplit=1)[1] for line in listing.splitlines() if line.strip())
functions = sum(1 for line in defined.splitlines() if line.split()[1] in "TtWw")
print(f"{' '.join(command)}: {functions} functions, undefined: {' '.join(undefined) or 'nothing'}")
offending = [symbol for symbol in undefined if symbol not in ALLOWED]
for symbol in offending:
    print(f"not allowed: {symbol}")
if functions == 0:
    print("nothing was instantiated")
sys.exit(1 if offending or functions == 0 else 0)
