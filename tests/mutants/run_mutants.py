#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Mutation testing: applies every listed mutant to a copy of the headers, builds only its killing test and runs it.

Exit 0 when each mutant is killed by the test it names and each declared equivalent survives it; 1 when one survives, when an
equivalent is killed, when an unmutated test fails, or when the list is wrong (stale text, a mutant that does not compile).
catalogue.py describes the list, docs/mutants.md the rest.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
import threading
import time

import building
import catalogue
import report
import sites

HERE = pathlib.Path(__file__).resolve().parent
LIMIT = 60  # seconds for a run that is not expected to hang; the tests take a few at most, also on a busy machine


class Progress:
    """One line that is written over on a terminal, one line for each step elsewhere."""

    def __init__(self, total):
        self.total, self.done, self.bad = total, 0, 0
        self.lock = threading.Lock()
        self.begin = time.monotonic()
        self.live = sys.stdout.isatty()

    def step(self, text, bad):
        with self.lock:
            self.done += 1
            self.bad += bad
            line = f"[{self.done}/{self.total}] {time.monotonic() - self.begin:4.0f} s  {text}"
            if self.live and not bad:
                print("\r\x1b[K" + line[:shutil.get_terminal_size().columns - 1], end="", flush=True)
            else:
                print(("\r\x1b[K" if self.live else "") + line, flush=True)

    def end(self):
        if self.live:
            print("\r\x1b[K", end="")


class Runner:
    def __init__(self, root, widen):
        self.root, self.widen = root, widen
        self.tools = building.Toolchain(root, root / "build" / "mutants")

    def baseline(self, tests, flavour, patterns):
        """Does the unmutated test pass? Errors, one for each filter that does not."""
        with tempfile.TemporaryDirectory(prefix="shootdown-mutant-") as folder:
            program = pathlib.Path(folder) / "test"
            why = self.tools.build(tests, self.root / "include", flavour, program)
            if why:
                return [f"{' '.join(tests)} ({flavour}) does not compile without a mutant: {why}"]
            errors = []
            for pattern in sorted(patterns):
                ran = self.tools.run(program, pattern, flavour, LIMIT)
                if ran.status != "passed":
                    errors.append(f"{' '.join(tests)} ({flavour}) with filter {pattern}: {ran.status} without a mutant {ran.detail}")
            return errors

    def mutate(self, mutant):
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="shootdown-mutant-") as folder:
            include = pathlib.Path(folder) / "include"
            shutil.copytree(self.root / "include", include)
            header = include / "shootdown" / mutant.file
            header.write_text(catalogue.apply(mutant, header.read_text(encoding="utf-8")), encoding="utf-8")
            program = pathlib.Path(folder) / "test"
            why = self.tools.build(mutant.tests, include, mutant.flavour, program)
            if why:
                ran = building.Outcome("not_compiled", why)
            else:
                pattern = "*" if self.widen else mutant.filter
                ran = self.tools.run(program, pattern, mutant.flavour, mutant.hang or LIMIT, not self.widen)
        return report.verdict(mutant, ran, time.monotonic() - begin)


def pick(mutants, arguments):
    if arguments.only:
        try:
            wanted = re.compile(arguments.only)
        except re.error as error:
            sys.exit(f"--only {arguments.only}: {error}")
        mutants = [m for m in mutants if wanted.search(m.name)]
        if not mutants:
            sys.exit(f"--only {arguments.only}: no such mutant")
    if arguments.sample:
        count, seed = arguments.sample
        # By a digest of the name: a list that grows changes the sample little.
        chosen = sorted(mutants, key=lambda m: hashlib.sha256(f"{seed} {m.name}".encode()).digest())[:count]
        mutants = [m for m in mutants if m in chosen]
    return mutants


def parse(argv):
    parser = argparse.ArgumentParser(prog="./run mutants", description="Seeds the listed bugs one by one; a named test has to notice each.")
    parser.add_argument("--list", action="store_true", help="print the mutants and their killing tests, and build nothing")
    parser.add_argument("--only", metavar="REGEX", help="only mutants whose name matches")
    parser.add_argument("--sample", nargs=2, type=int, metavar=("K", "SEED"), help="K mutants chosen by SEED")
    parser.add_argument("--jobs", "-j", type=int, default=os.cpu_count() or 1, help="builds at the same time")
    parser.add_argument("--json", metavar="FILE", help="write the results here too")
    parser.add_argument("--sites", metavar="FILE", help="results of mutants that were made at run time (docs/mutants.md)")
    parser.add_argument("--generate", action="store_true", help="print the generated mutants (orders, fences, device sites) as JSON")
    parser.add_argument("--widen", action="store_true", help="run the whole test file instead of the filter: who kills what")
    parser.add_argument("--root", type=pathlib.Path, default=HERE.parents[1], help="the project's directory")
    arguments = parser.parse_args(argv)
    if arguments.jobs < 1:
        parser.error("--jobs is at least 1")
    return arguments


def run(runner, mutants, jobs):
    """(errors of the unmutated tests, results in the order of the list)."""
    groups = {}
    for m in mutants:
        groups.setdefault((m.tests, m.flavour), set()).add(m.filter)
    for flavour in sorted({flavour for _, flavour in groups}):
        runner.tools.precompile(flavour)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        errors = []
        if not runner.widen:
            progress = Progress(len(groups))
            waiting = {pool.submit(runner.baseline, tests, flavour, filters): tests for (tests, flavour), filters in groups.items()}
            for done in concurrent.futures.as_completed(waiting):
                errors += done.result()
                progress.step(f"unmutated {' '.join(waiting[done])}", bool(done.result()))
            progress.end()
        if errors:
            return errors, []
        progress = Progress(len(mutants))
        waiting = {pool.submit(runner.mutate, m): m for m in mutants}
        results = {}
        for done in concurrent.futures.as_completed(waiting):
            made = done.result()
            results[waiting[done].name] = made
            progress.step(f"{made['status']:12} {made['name']}" + (f"  {made['by']}" if runner.widen else ""), made["bad"])
        progress.end()
    return [], [results[m.name] for m in mutants]


def main(argv):
    arguments = parse(argv)
    root = arguments.root.resolve()
    if arguments.generate:
        print(json.dumps(sites.enumerate_sites(root), indent=1))
        return 0
    try:
        everything = catalogue.load(root / "tests" / "mutants" / "lists")
        mutants = pick(everything, arguments)
        errors = catalogue.check(mutants, root)
        made_at_run_time = report.read_sites(arguments.sites) if arguments.sites else []
    except catalogue.ListError as error:
        errors, mutants = [str(error)], []
    if errors:
        print("\n".join(errors), file=sys.stderr)
        return 1
    if arguments.list:
        for m in mutants:
            print(f"{m.name}\n    {m.file}: {m.breaks}\n    " + (f"equivalent: {m.equivalent}" if m.equivalent else m.killing_test))
        return 0
    begin = time.monotonic()
    errors, results = run(Runner(root, arguments.widen), mutants, arguments.jobs)
    if errors:
        print("\n".join(errors), file=sys.stderr)
        return 1
    whole = report.Report(results, made_at_run_time, time.monotonic() - begin, arguments.jobs)
    print(whole.text())
    folder = root / "build" / "report"
    if not arguments.only and not arguments.sample and not arguments.widen:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "mutants.json").write_text(whole.json(), encoding="utf-8")
        (folder / "mutants.md").write_text(whole.markdown(), encoding="utf-8")
        print(f"Report: {folder / 'mutants.md'}")
    if arguments.json:
        pathlib.Path(arguments.json).write_text(whole.json(), encoding="utf-8")
    return 0 if whole.good() else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
