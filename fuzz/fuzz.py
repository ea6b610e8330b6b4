#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs libFuzzer targets: fuzz.py SECONDS TARGET... (what `./run fuzz` calls once the packages are there).

Builds each target, runs it on the committed corpus and on what earlier runs found (build/fuzz/found/<target>), shows its
progress, and at the end how much it reaches: edges of the whole program, from libFuzzer's counters, and lines of the headers
under test, from clang's source-based coverage (the line `// Under test: room/ room/file.hpp` of the target). A crash is shown
with its input and with the way to replay it. Exit status 1 if there was one.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
REPORT = re.compile(r"^#(\d+)\s+(\w+)\s+cov: (\d+) ft: \d+ corp: (\d+)/\S+.*?exec/s: (\d+)")
COUNTERS = re.compile(r"Loaded \d+ modules\s+\((\d+) inline 8-bit counters\)")
UNIT = re.compile(r"Test unit written to (\S+)")
EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


def say(text):
    print(f"\n== {text}", flush=True)


def cmake(*arguments):
    subprocess.run(["cmake", *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL if "--preset" in arguments[:1] else None)


def build(preset, target):
    cmake("--build", "--preset", preset, "--target", target, "-j", str(os.cpu_count()))


class Progress:
    """One line that is rewritten on a terminal, and one every ten seconds elsewhere."""

    def __init__(self, name, seconds):
        self.name, self.seconds, self.begin = name, seconds, time.monotonic()
        self.terminal = sys.stdout.isatty()
        self.shown = self.begin
        self.edges = self.reached = self.inputs = self.executed = 0

    def see(self, line):
        if m := COUNTERS.search(line):
            self.edges = int(m[1])
        if m := EXECUTED.search(line):
            self.executed = int(m[1])
        if m := REPORT.match(line):
            self.executed, self.reached, self.inputs = int(m[1]), int(m[3]), int(m[4])
            self.show()

    def show(self):
        now = time.monotonic()
        if now - self.shown < (0.5 if self.terminal else 10):
            return
        self.shown = now
        print(f"{self.text()}\033[K\r" if self.terminal else self.text(), end="" if self.terminal else "\n", flush=True)

    def text(self):
        took = max(time.monotonic() - self.begin, 0.001)
        share = 100 * self.reached / self.edges if self.edges else 0
        return (f"{self.name}: {took:.0f} s of {self.seconds}, {self.executed} executions, {self.executed / took:.0f}/s, "
                f"{self.reached} of {self.edges} edges ({share:.0f} %), {self.inputs} inputs")


def corpora(name, found):
    committed = ROOT / "fuzz/corpus" / name
    return [found] + ([committed] if committed.is_dir() else [])


def fuzz(name, seconds, found):
    """True: no crash."""
    program = ROOT / f"build/fuzz/fuzz/fuzz_{name}"
    command = [program, f"-max_total_time={seconds}", "-max_len=1024", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1",
               f"-artifact_prefix={found.parent / name}-", *corpora(name, found)]
    progress, tail, unit = Progress(name, seconds), [], None
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as run:
        for line in run.stdout:
            progress.see(line)
            if m := UNIT.search(line):
                unit = m[1]
            if not REPORT.match(line):
                tail = (tail + [line])[-200:]
    print(progress.text(), flush=True)
    if run.returncode == 0:
        return True
    say(f"{name}: FAILED")
    telling = re.compile(r"violated|ERROR|SUMMARY|runtime error|^\s*#\d+ .*(/fuzz/|/shootdown/|/bench/)")
    print("".join(line for line in tail if telling.search(line)) or "".join(tail[-20:]), end="")
    if unit is not None:
        print(f"input: {unit}\nreplay with g++:\n  cmake --preset release && cmake --build --preset release --target fuzz_{name} && "
              f"build/release/fuzz/fuzz_{name} {unit}\nIf it is a bug: keep the input in fuzz/corpus/{name}/ under a name that says what it shows.")
    return False


def under_test(name):
    text = (ROOT / f"fuzz/{name}_fuzz.cpp").read_text(encoding="utf-8")
    named = re.search(r"^// Under test: (.+)$", text, re.MULTILINE)
    return [str(ROOT / ("" if word.startswith("bench/") else "include/shootdown") / word) for word in named[1].split()] if named else []


def lines_reached(program, inputs, wanted, room):
    """(reached, all) lines of the wanted files."""
    raw, merged = room / "raw", room / "merged"
    raw.unlink(missing_ok=True)
    environment = dict(os.environ, LLVM_PROFILE_FILE=str(raw))
    done = subprocess.run([program, *inputs], env=environment, stderr=subprocess.DEVNULL, check=False)
    if done.returncode not in (0, 1) or not raw.exists():  # 1: inputs of an older format among those found
        return None
    subprocess.run(["llvm-profdata-19", "merge", "-sparse", raw, "-o", merged], check=True)
    text = subprocess.run(["llvm-cov-19", "export", "-summary-only", f"-instr-profile={merged}", program], check=True, capture_output=True, text=True).stdout
    lines = [f["summary"]["lines"] for f in json.loads(text)["data"][0]["files"] if f["filename"].startswith(tuple(wanted))]
    return sum(n["covered"] for n in lines), sum(n["count"] for n in lines)


def coverage(name, found):
    wanted = under_test(name)
    if not wanted or shutil.which("llvm-cov-19") is None:
        print(f"{name}: no line coverage ({'llvm-cov-19 is missing' if wanted else 'the target names no headers under test'})")
        return
    build("coverage", f"fuzz_{name}")
    program, room = ROOT / f"build/coverage/fuzz/fuzz_{name}", ROOT / "build/coverage/profiles" / name
    room.mkdir(parents=True, exist_ok=True)
    all_of = corpora(name, found)
    for what, inputs in (("the committed corpus", all_of[1:]), ("the corpus with what was found so far", all_of if any(found.iterdir()) else [])):
        lines = lines_reached(program, inputs, wanted, room) if inputs else None
        if lines:
            print(f"{name}: {what} reaches {lines[0]} of {lines[1]} lines under test ({100 * lines[0] / lines[1]:.1f} %)")


def main(arguments):
    seconds, names = int(arguments[0]), arguments[1:]
    cmake("--preset", "fuzz")
    cmake("--preset", "coverage")
    good = True
    for name in names:
        say(f"fuzz {name}, {seconds} s")
        build("fuzz", f"fuzz_{name}")
        found = ROOT / "build/fuzz/found" / name
        found.mkdir(parents=True, exist_ok=True)
        fine = fuzz(name, seconds, found)
        if fine:
            coverage(name, found)
        good = good and fine
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as failure:
        sys.exit(f"failed: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
