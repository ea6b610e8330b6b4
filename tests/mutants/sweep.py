#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Generated mutants, made at run time: every memory order one step weaker, every fence and device barrier left out.

Takes the list from sites.py, lets the explorer run its scenarios with one change at a time, and writes a JSON array for
`run_mutants.py --sites`. Nothing is compiled: the order reaches the simulator's atomics as an argument, and the change is made
there. What the explorer lets live is tried with `--tsan`, the same program built with ThreadSanitizer: an order that hands
over plain memory has no other judge. A site that no scenario executes, or whose mutant no scenario notices, needs an entry in
equivalent_sites.toml with the reason, or it is a survivor. An entry whose mutant is killed after all, that fits no site, or that
names a listed mutant which does not touch its site, is an error.
Ends with 0: no survivor and no such entry; 1: some; 2: an explorer that did not do its work.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import tomllib

import catalogue
import sites

HERE = pathlib.Path(__file__).resolve().parent


class SweepError(Exception):
    """No verdict: an explorer or a list that cannot be used."""


def read_arguments(path):
    """Reasons by site: [[site]] file, text (a part of the site's source line), from, to, reason, and killed_by: a listed mutant."""
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("site", [])
    for number, entry in enumerate(entries):
        missing = {"file", "text", "from", "to", "reason"} - set(entry)
        if missing:
            raise SweepError(f"{path}: entry {number + 1} lacks {', '.join(sorted(missing))}")
    return entries


def wrong_references(entries, listed):
    """Complaints about killed_by: no such listed mutant, or one that leaves the site alone."""
    by_name = {mutant.name: mutant for mutant in listed}
    for entry in entries:
        name = entry.get("killed_by")
        if name is None:
            continue
        mutant = by_name.get(name)
        if mutant is None or mutant.equivalent or mutant.file != entry["file"] or entry["text"] not in mutant.old or entry["text"] in mutant.new:
            yield f"equivalent_sites.toml: {entry['file']}: {entry['text']}: {name} is no listed mutant that changes it"


def argument_for(site, text, entries):
    found = [e for e in entries if e["file"] == site["file"] and e["from"] == site["from"] and e["to"] == site["to"] and e["text"] in text]
    return found[0] if found else None


def weaken(explorer, todo, trials, jobs):
    """[(status, killer)] for each site, in order: `jobs` explorers with a part of the list each."""
    jobs = max(1, min(jobs, len(todo)))
    verdicts = [None] * len(todo)
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for job in range(jobs):
            part = list(range(job, len(todo), jobs))
            path = pathlib.Path(folder) / f"{job}.txt"
            path.write_text("".join("{file} {call_line} {end_line} {kind} {from} {to}\n".format(**todo[n]) for n in part), encoding="utf-8")
            out = open(pathlib.Path(folder) / f"{job}.out", "w", encoding="utf-8")
            command = [explorer, f"--trials={trials}", "weaken", str(path)]
            running.append((part, out, subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True, errors="replace")))
        for part, out, process in running:
            said = process.communicate()[1]
            out.close()
            lines = [line.rstrip("\n").split("\t") for line in open(out.name, encoding="utf-8")]
            if process.returncode not in (0, 1) or len(lines) != len(part):
                raise SweepError(f"{explorer} stopped with {process.returncode} after {len(lines)} of {len(part)} mutants\n{said[-2000:]}")
            for n, line in zip(part, lines):
                verdicts[n] = (line[0], line[6] if len(line) > 6 else "")
    return verdicts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("explorer", help="path of shootdown_explore")
    parser.add_argument("--tsan", metavar="PATH", help="the same built with ThreadSanitizer: tried with what the first lets live")
    parser.add_argument("--root", type=pathlib.Path, default=HERE.parents[1])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--trials", type=int, default=2000, help="of each scenario under each driver")
    parser.add_argument("--tsan-trials", type=int, default=100, help="the same with --tsan, where a step costs twenty times as much")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()

    begin = time.monotonic()
    todo = sites.enumerate_sites(arguments.root)
    entries = read_arguments(HERE / "equivalent_sites.toml")
    verdicts = weaken(arguments.explorer, todo, arguments.trials, arguments.jobs)
    raced = 0
    if arguments.tsan:
        alive = [n for n, (status, _) in enumerate(verdicts) if status == "survived"]
        for n, (status, by) in zip(alive, weaken(arguments.tsan, [todo[n] for n in alive], arguments.tsan_trials, arguments.jobs)):
            if status == "killed":
                verdicts[n] = (status, f"with ThreadSanitizer, {by}")
                raced += 1

    results, used = [], set()
    complaints = list(wrong_references(entries, catalogue.load(HERE / "lists")))
    for site, (status, by) in zip(todo, verdicts):
        text = (arguments.root / "include" / "shootdown" / site["file"]).read_text(encoding="utf-8").splitlines()[site["line"] - 1]
        argument = argument_for(site, text, entries)
        if argument is not None:
            used.add(id(argument))
            if status == "killed" and "killed_by" not in argument:
                complaints.append(f"{site['file']}:{site['line']}: declared equivalent, and killed by {by}")
            elif status != "killed":
                status, by = ("killed", f"listed: {argument['killed_by']}") if "killed_by" in argument else ("equivalent", argument["reason"])
        if status == "unreached":
            status, by = "survived", "no scenario executes it"
        results.append({k: site[k] for k in ("file", "line", "kind", "from", "to")} | {"status": status, "by": by})
    complaints += [f"equivalent_sites.toml: {e['file']}: {e['text']}: no such site" for e in entries if id(e) not in used]

    results.sort(key=lambda r: (r["file"], r["line"], r["to"]))
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for complaint in complaints:
        print(complaint)
    count = lambda status: sum(r["status"] == status for r in results)
    listed = sum(r["status"] == "killed" and r["by"].startswith("listed: ") for r in results)
    for r in results:
        if r["status"] == "survived":
            print(f"survived: {r['file']}:{r['line']} {r['kind']} {r['from']} -> {r['to']}: {r['by'] or 'no scenario notices'}")
    print(f"{len(results)} generated mutants: {count('killed')} killed ({raced} by a race, {listed} by a listed mutant's test), "
          f"{count('equivalent')} equivalent, {count('survived')} survived; {time.monotonic() - begin:.0f} s with {arguments.jobs} jobs")
    return 1 if complaints or count("survived") else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (SweepError, sites.SiteError, catalogue.ListError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
