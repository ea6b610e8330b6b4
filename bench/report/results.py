# SPDX-License-Identifier: MIT
"""Reads what shootdown_bench wrote (Google Benchmark's JSON) and checks that it holds what the report shows."""
import dataclasses
import json
import math
import re
import statistics

PERCENTILES = (  # counter, parts per thousand, axis label
    ("p10_ns", 100, "10"), ("p25_ns", 250, "25"), ("p50_ns", 500, "50"), ("p75_ns", 750, "75"),
    ("p90_ns", 900, "90"), ("p99_ns", 990, "99"), ("p999_ns", 999, "99.9"), ("p100_ns", 1000, "max"))
REQUIRED = tuple(p[0] for p in PERCENTILES) + (
    "unmaps_per_second", "commands", "syncs", "doorbells", "shared_rmw", "failed_cas", "requested_pages", "over_pages",
    "map_flushes", "dmas", "leaks", "pass_unmaps", "pass_tlbi", "pass_sync", "pass_large_unmaps", "pass_large_tlbi",
    "pass_large_sync")
RECORDED = ("recorded_tlbi", "recorded_sync", "recorded_map_time", "recorded_large_tlbi", "recorded_large_sync",
            "recorded_large_map_time")
FAMILY = "BM_unmap"
# Google Benchmark appends how it ran a case to the name; none of that tells cases apart.
RUN_PART = re.compile(r"^(iterations|repeats|min_time|min_warmup_time|threads):|^(real_time|manual_time|process_time)$")
KNOWN_ORDER = ("owner_cas", "locked", "exact", "disjoint", "bounded", "private", "shared", "trace")


class ReportError(Exception):
    """The input cannot be reported; the text says why."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One case with the counters of each of its repetitions."""
    workload: str
    strategy: str
    policy: str
    domains: str
    threads: int
    samples: int  # unmaps of one repetition, all threads together
    repetitions: tuple

    def values(self, key):
        return [r[key] for r in self.repetitions]

    def median(self, key):
        return statistics.median(self.values(key))

    def percentiles(self):
        """(label, median ns) of the percentiles with at least one unmap on either side; the maximum always."""
        return [(label, self.median(key)) for key, mille, label in PERCENTILES
                if mille == 1000 or self.samples * min(mille, 1000 - mille) >= 1000]

    def has_recording(self):
        return all(key in self.repetitions[0] for key in RECORDED)


@dataclasses.dataclass(frozen=True)
class Results:
    context: dict
    cases: tuple     # in the order in which they are shown
    failures: tuple  # (case, message)
    others: tuple    # (name, median real time, unit) of benchmarks that are not an unmap

    def leaks(self):
        return sum(sum(c.values("leaks")) for c in self.cases)

    def device_accesses(self):
        return sum(sum(c.values("dmas")) * c.samples for c in self.cases)

    def repetitions(self):
        """Fewest and most repetitions of a case."""
        counts = [len(c.repetitions) for c in self.cases] or [0]
        return min(counts), max(counts)

    def of(self, **wanted):
        return [c for c in self.cases if all(getattr(c, k) == v for k, v in wanted.items())]

    def distinct(self, attribute):
        return list(dict.fromkeys(getattr(c, attribute) for c in self.cases))


def order(word):
    """Sorts what the benchmark is known to have in its own order, numbers by size, the rest by name behind it."""
    known = KNOWN_ORDER.index(word) if word in KNOWN_ORDER else len(KNOWN_ORDER)
    return known, [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", word)]


def load(path):
    """The results in the file at `path`. Raises ReportError."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as e:
        raise ReportError(f"{path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise ReportError(f"{path}: not UTF-8 text: {e}") from e
    if not text.strip():
        raise ReportError(f"{path}: the file is empty; did the benchmark run to its end?")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise ReportError(f"{path}: not JSON: {e}; did the benchmark run to its end?") from e
    try:
        return parse(document)
    except ReportError as e:
        raise ReportError(f"{path}: {e}") from e


def parse(document):
    """The results in a parsed report. Raises ReportError."""
    if not isinstance(document, dict):
        raise ReportError("not a report of Google Benchmark: the top level is not an object")
    context = document.get("context")
    entries = document.get("benchmarks")
    if not isinstance(context, dict):
        raise ReportError("not a report of Google Benchmark: 'context' is missing or no object")
    if not isinstance(entries, list):
        raise ReportError("not a report of Google Benchmark: 'benchmarks' is missing or no list")
    runs, others, failures = {}, {}, []
    for number, entry in enumerate(entries):
        sort_entry(number, entry, runs, others, failures)
    if not runs and not failures:
        raise ReportError(f"no {FAMILY} case in it")
    cases = [make_case(key, reps) for key, reps in runs.items()]
    cases.sort(key=lambda c: [order(w) for w in (c.workload, c.policy, c.strategy, c.domains)] + [c.threads])
    rows = tuple((name, statistics.median(t for t, _ in times), times[0][1]) for name, times in sorted(others.items()))
    return Results(context, tuple(cases), tuple(failures), rows)


def sort_entry(number, entry, runs, others, failures):
    """Puts one entry of 'benchmarks' where it belongs. Aggregates are left out: they follow from the repetitions."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ReportError(f"benchmark {number} has no name")
    if entry.get("run_type", "iteration") != "iteration":
        return
    parts = [p for p in entry["name"].split("/") if not RUN_PART.match(p)]
    if entry.get("error_occurred"):
        failures.append(("/".join(parts), str(entry.get("error_message", "no reason given"))))
    elif parts[0] == FAMILY:
        if len(parts) < 5:
            raise ReportError(f"{entry['name']}: the name is not {FAMILY}/WORKLOAD/STRATEGY/POLICY/DOMAINS")
        workload = " ".join([parts[1]] + parts[5:])  # a dimension that is not known here makes a workload of its own
        key = (workload, *parts[2:5], count(entry, "threads"))
        runs.setdefault(key, []).append(entry)
    else:
        others.setdefault("/".join(parts), []).append((number_of(entry, "real_time"), str(entry.get("time_unit", "ns"))))


def make_case(key, entries):
    """One case of its repetitions, each with every counter the report needs."""
    names = REQUIRED + tuple(k for k in RECORDED if any(r in entries[0] for r in RECORDED))
    repetitions = tuple({name: number_of(entry, name) for name in names} for entry in entries)
    return Case(*key, samples=count(entries[0], "iterations"), repetitions=repetitions)


def number_of(entry, name):
    value = entry.get(name)
    if value is None:
        raise ReportError(f"{entry['name']}: '{name}' is missing; was this written by another version of the benchmark?")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ReportError(f"{entry['name']}: '{name}' is no finite number: {value!r}")
    return float(value)


def count(entry, name):
    value = number_of(entry, name)
    if value < 1 or value != int(value):
        raise ReportError(f"{entry['name']}: '{name}' is no positive whole number: {value!r}")
    return int(value)
