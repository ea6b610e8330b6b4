#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Generated mutants, made at run time: every memory order one step weaker, every fence and device barrier left out.

Takes the list from sites.py, lets the explorer run its scenarios with one change at a time, and writes a JSON array for
`run_mutants.py --sites`. Nothing is compiled: the order reaches the simulator's atomics as an argument, and the change is made
there. A site that no scenario executes, or whose mutant no scenario notices, needs an entry in equivalent_sites.toml with the
reason, or it is a survivor. An entry whose mutant is killed after all is an error.
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

import sites

HERE = pathlib.Path(__file__).resolve().parent


def read_arguments(path):
    """Reasons by site: [[site]] file, text (a part of the site's source line), from, to, reason, and killed_by: a listed mutant or test."""
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("site", [])
    for number, entry in enumerate(entries):
        missing = {"file", "text", "from", "to", "reason"} - set(entry)
        if missing:
            raise SystemExit(f"{path}: entry {number + 1} lacks {', '.join(sorted(missing))}")
    return entries


def argument_for(site, text, entries):
    found = [e for e in entries if e["file"] == site["file"] and e["from"] == site["from"] and e["to"] == site["to"] and e["text"] in text]
    return found[0] if found else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("explorer", help="path of shootdown_explore")
    parser.add_argument("--root", type=pathlib.Path, default=HERE.parents[1])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()

    begin = time.monotonic()
    todo = sites.enumerate_sites(arguments.root)
    entries = read_arguments(HERE / "equivalent_sites.toml")
    jobs = max(1, arguments.jobs)
    batches = [todo[n::jobs] for n in range(jobs)]
    results, used, bad = [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for number, batch in enumerate(batches):
            path = pathlib.Path(folder) / f"{number}.txt"
            path.write_text("".join(f"{s['file']} {s['call_line']} {s['end_line']} {s['kind']} {s['from']} {s['to']}\n" for s in batch),
                            encoding="utf-8")
            out = open(pathlib.Path(folder) / f"{number}.out", "w", encoding="utf-8")
            running.append((batch, out, subprocess.Popen([arguments.explorer, f"--trials={arguments.trials}", "weaken", str(path)], stdout=out)))
        for batch, out, process in running:
            code = process.wait()
            out.close()
            lines = [line.rstrip("\n").split("\t") for line in open(out.name, encoding="utf-8")]
            if code not in (0, 1) or len(lines) != len(batch):
                raise SystemExit(f"the explorer stopped with {code} after {len(lines)} of {len(batch)} mutants")
            for site, line in zip(batch, lines):
                text = (arguments.root / "include" / "shootdown" / site["file"]).read_text(encoding="utf-8").splitlines()[site["line"] - 1]
                status, by = line[0], line[6] if len(line) > 6 else ""
                argument = argument_for(site, text, entries)
                if argument is not None:
                    used.append(id(argument))
                    if status == "killed" and not argument.get("killed_by"):
                        print(f"{site['file']}:{site['line']}: declared equivalent, and killed by {by}")
                        bad += 1
                    elif status != "killed":
                        status = "killed" if argument.get("killed_by") else "equivalent"
                        by = argument.get("killed_by") or argument["reason"]
                if status == "unreached":
                    status, by = "survived", "no scenario executes it"
                results.append({k: site[k] for k in ("file", "line", "kind", "from", "to")} | {"status": status, "by": by})
    for entry in entries:
        if id(entry) not in used:
            print(f"equivalent_sites.toml: {entry['file']}: {entry['text']}: no such site")
            bad += 1
    results.sort(key=lambda r: (r["file"], r["line"], r["to"]))
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    counts = {s: sum(r["status"] == s for r in results) for s in ("killed", "equivalent", "survived")}
    for r in results:
        if r["status"] == "survived":
            print(f"survived: {r['file']}:{r['line']} {r['kind']} {r['from']} -> {r['to']}: {r['by'] or 'no scenario notices'}")
    print(f"{len(results)} generated mutants: {counts['killed']} killed, {counts['equivalent']} equivalent, {counts['survived']} survived; "
          f"{time.monotonic() - begin:.0f} s with {jobs} jobs")
    return 1 if bad or counts["survived"] else 0


if __name__ == "__main__":
    sys.exit(main())
