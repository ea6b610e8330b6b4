# SPDX-License-Identifier: MIT
"""Verdicts on mutants, and the matrix mutant -> killing test as text, JSON and Markdown."""
import json
import pathlib
import re

import catalogue

SITE_KEYS = {"file", "line", "kind", "from", "to", "status", "by"}
STATIC_ASSERT = re.compile(r"static[ _]assert|constant expression|non-constant", re.I)
SITE_STATUS = ("killed", "survived", "equivalent")


def verdict(mutant, ran, seconds):
    """One result. `bad`: it makes the whole run fail."""
    asserted = mutant.compiler and ran.status == "not_compiled" and STATIC_ASSERT.search(ran.detail)
    killed = asserted or (not mutant.compiler and ran.status in ("failed", "hang"))
    status = "killed" if killed else "survived" if ran.status == "passed" else "list error"
    if mutant.equivalent:
        status = "equivalent" if ran.status == "passed" else "not equivalent" if killed else status
    by = ", ".join(ran.failed[:3])
    if asserted:
        by = f"the compiler: {ran.detail}"
    elif ran.status == "hang":
        by = "hang: " + ran.detail
    elif ran.status in ("not_compiled", "no_tests"):
        by = ran.detail
    elif killed and ran.detail and not ran.detail.startswith("exit 1"):
        by += f" ({ran.detail})"
    return {"name": mutant.name, "room": mutant.room, "file": mutant.file, "breaks": mutant.breaks, "test": mutant.killing_test,
            "status": status, "bad": status not in ("killed", "equivalent"), "by": by, "equivalent": mutant.equivalent,
            "seconds": round(seconds, 1)}


def read_sites(path):
    """Results of mutants that another program made at run time: a JSON array of {file, line, kind, from, to, status, by}; status is
    killed, survived or equivalent; by names the scenario that killed it, or says why it is equivalent."""
    try:
        entries = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise catalogue.ListError(f"{path}: {error}") from error
    if not isinstance(entries, list):
        raise catalogue.ListError(f"{path}: not an array")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or SITE_KEYS - set(entry):
            raise catalogue.ListError(f"{path}: entry {number} lacks one of {', '.join(sorted(SITE_KEYS))}")
        if entry["status"] not in SITE_STATUS or (entry["status"] != "survived" and not entry["by"]):
            raise catalogue.ListError(f"{path}: entry {number}: status is one of {', '.join(SITE_STATUS)}, with what killed or excuses it")
    return entries


class Report:
    def __init__(self, results, made_at_run_time, seconds, jobs):
        self.results, self.sites, self.seconds, self.jobs = results, made_at_run_time, seconds, jobs

    def good(self):
        return not any(r["bad"] for r in self.results) and not any(s["status"] == "survived" for s in self.sites)

    def count(self, status):
        return sum(r["status"] == status for r in self.results)

    def summary(self):
        kinds = ["killed", "equivalent", "survived", "not equivalent", "list error"]
        parts = [f"{self.count(k)} {k}" for k in kinds if self.count(k) or k in ("killed", "survived")]
        jobs = f"{self.jobs} job{'s' if self.jobs > 1 else ''}"
        text = f"{len(self.results)} listed mutants: {', '.join(parts)}; {self.seconds:.0f} s with {jobs}"
        if self.sites:
            states = [f"{sum(s['status'] == k for s in self.sites)} {k}" for k in SITE_STATUS]
            text += f"\n{len(self.sites)} mutants made at run time: {', '.join(states)}"
        return text

    def text(self):
        width = max((len(r["name"]) for r in self.results), default=0)
        lines = [f"{r['status']:14} {r['name']:{width}}  {r['equivalent'] if r['status'] == 'equivalent' else r['by'] or r['test']}"
                 for r in self.results]
        lines += [f"{s['status']:14} {s['file']}:{s['line']} {s['kind']} {s['from']} -> {s['to']}  {s['by']}" for s in self.sites]
        return "\n".join([*lines, self.summary()])

    def json(self):
        return json.dumps({"seconds": round(self.seconds, 1), "jobs": self.jobs, "good": self.good(), "mutants": self.results,
                           "made_at_run_time": self.sites}, indent=1) + "\n"

    def markdown(self):
        out = ["# Mutants", "", self.summary(), "", "| mutant | breaks | outcome | by |", "|---|---|---|---|"]
        cell = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
        for r in self.results:
            by = r["equivalent"] if r["status"] == "equivalent" else f"{r['test']} [{r['by']}]" if r["by"] else r["test"]
            out.append(f"| {cell(r['name'])} | {cell(r['breaks'])} | {r['status']} | {cell(by)} |")
        if self.sites:
            out += ["", "| site | change | outcome | by |", "|---|---|---|---|"]
            out += [f"| {s['file']}:{s['line']} | {s['kind']}: {s['from']} -> {s['to']} | {s['status']} | {cell(s['by'])} |"
                    for s in self.sites]
        return "\n".join(out) + "\n"
