# SPDX-License-Identifier: MIT
"""What the report says, as HTML: every function makes one section of the results."""
from html import escape
from statistics import median

from matplotlib import pyplot

import plots
import svg

LARGE = 512  # pages; unmaps from this size on are counted apart by the benchmark
COLUMNS = (  # heading, counter, how it is written
    ("unmaps/s", "unmaps_per_second", "human"), ("p50", "p50_ns", "time"), ("p99", "p99_ns", "time"),
    ("cmds", "commands", ".3f"), ("SYNCs", "syncs", ".3f"), ("bells", "doorbells", ".3f"), ("RMWs", "shared_rmw", ".2f"),
    ("failCAS", "failed_cas", ".3f"), ("over pg", "over_pages", ".3f"), ("mapflush", "map_flushes", ".3f"), ("leaks", "leaks", ".0f"))


def human(value):
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    return f"{value / 1e3:.1f} k" if value >= 1e4 else f"{value:.0f}"


def written(value, how):
    return {"human": human, "time": plots.duration}.get(how, lambda v: format(v, how))(value)


def plural(number, one, many=None):
    digits = f"{number:,.0f}".replace(",", "\u202f")  # thin spaces
    return f"{digits} {one if number == 1 else many or one + 's'}"


def section(key, heading, *content):
    return f'<section id="{key}">\n<h2>{escape(heading)}</h2>\n' + "\n".join(content) + "\n</section>"


def paragraph(text):
    return f"<p>{escape(text)}</p>"


def nothing(what):
    return f'<p class="nothing">{escape(what)}</p>'


def figure(key, caption, drawing):
    drawn, alt = drawing
    try:
        return f'<figure>{svg.inline(drawn, key, alt)}<figcaption>{escape(caption)}</figcaption></figure>'
    finally:
        pyplot.close(drawn)


def grid(figures):
    return '<div class="figures">' + "\n".join(figures) + "</div>"


def table(caption, heads, rows):
    """A row is its heading, a string, and (number, text) pairs. The number itself is kept in <data>."""
    def cell(value):
        if isinstance(value, str):
            return f'<th scope="row">{escape(value)}</th>'
        return f'<td><data value="{value[0]!r}">{escape(value[1])}</data></td>'
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    body = "\n".join("<tr>" + "".join(cell(v) for v in row) + "</tr>" for row in rows)
    return (f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption, quote=True)}"><table>'
            f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>")


def verdict(results):
    """Leaks first: a run with one has nothing else to say."""
    leaks = results.leaks()
    lines = [f'<p class="number"><data value="{leaks!r}">{leaks:.0f}</data> {"leak" if leaks == 1 else "leaks"}</p>']
    if results.cases:
        lines.append(paragraph(f"in {plural(results.device_accesses(), 'device access', 'device accesses')}, "
                               f"{plural(len(results.cases), 'case')}, "
                               f"{plural(sum(len(c.repetitions) for c in results.cases), 'repetition')}. A leak is an access through "
                               "a translation whose unmap had returned, or a walk through a freed table."))
    failed = [f"{name_of(c)}: {plural(sum(c.values('leaks')), 'leak')}" for c in results.cases if any(c.values("leaks"))]
    failed += [f"{name} failed: {message}" for name, message in results.failures]
    lines += [f'<p class="failure">{escape(line)}</p>' for line in failed]
    notes = [nothing(n) for n in cautions(results)]
    return f'<div class="verdict {"bad" if failed else "good"}" id="leaks">' + "\n".join(lines) + "</div>\n" + "\n".join(notes)


def name_of(case):
    return "/".join((case.workload, case.strategy, case.policy, case.domains))


def method(results):
    ran = f"medians of {spread(results.repetitions())} repetitions" if results.repetitions()[1] > 1 else "each case ran once"
    return section("method", "Method", paragraph(
        "Every thread maps memory, lets the device write it, unmaps it and reuses the frames on an SMMU in memory, while each device "
        "keeps using every address it was ever given and an oracle looks for accesses that should not reach anything. "
        "The counts are the evidence: the library counts what it sends, and a difference to what the device executed is an error. "
        f"Times include the model's own work and serve only as ratios between cases of one run (here {ran}); "
        "docs/measuring.md explains every column."))


def spread(numbers):
    """"2", or "2 to 10"."""
    return " to ".join(str(n) for n in dict.fromkeys((min(numbers), max(numbers))))


def machine(results):
    context = results.context
    facts = [("Date", context.get("date")), ("CPUs", cpus(context)), ("Caches", caches(context)), ("Load average", load(context)),
             ("Threads that unmap", ", ".join(str(t) for t in sorted({c.threads for c in results.cases}))),
             ("Repetitions", spread(results.repetitions()))]
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts if v)
    return section("machine", "Machine", f"<dl>{items}</dl>")


def cpus(context):
    number, mhz = context.get("num_cpus"), context.get("mhz_per_cpu")
    if not isinstance(number, int):
        return None
    scaling = ", frequency scaling on" if context.get("cpu_scaling_enabled") is True else ""
    return f"{number}{f' at {mhz} MHz' if isinstance(mhz, (int, float)) else ''}{scaling}"


def caches(context):
    known = [c for c in context.get("caches") or () if isinstance(c, dict) and isinstance(c.get("size"), int)]
    return ", ".join(f"L{c.get('level', '?')} {str(c.get('type', '')).lower()} {c['size'] // 1024} KiB" for c in known)


def load(context):
    values = context.get("load_avg")
    good = isinstance(values, list) and values and all(isinstance(v, (int, float)) for v in values)
    return " ".join(f"{v:.2f}" for v in values) if good else None


def cautions(results):
    number, values = results.context.get("num_cpus"), results.context.get("load_avg")
    if load(results.context) and isinstance(number, int) and values[0] >= number:
        yield "Other work kept the CPUs busy when this run began: read the counts, not the times."
    if results.cases and results.repetitions()[1] == 1:
        yield "One repetition each (a quick run): the times have no spread to judge them by."


def latency(results):
    if not results.cases:
        return section("latency", "Latency", nothing("No case ran to its end."))
    policies = results.distinct("policy")
    shown, rest = policies[0], policies[1:]
    parts = [paragraph("From clearing the descriptors to giving the tables back, the device's work included. A percentile is drawn where "
                       "at least one unmap lies on either side of it, the maximum always."), grid(latencies(results, shown))]
    for policy in rest:
        parts.append(f"<details><summary>The same with policy {escape(policy)}</summary>{grid(latencies(results, policy))}</details>")
    return section("latency", "Latency distribution", *parts)


def latencies(results, policy):
    for workload in results.distinct("workload"):
        cases = results.of(workload=workload, policy=policy)
        if cases:
            samples = spread([c.samples for c in cases])
            yield figure(f"latency-{slug(workload)}-{slug(policy)}", f"{workload}, {policy}: {samples} unmaps a repetition",
                         plots.latency(results, workload, policy))


def slug(text):
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in text)


def recorded(results):
    """Our counts beside the recorded driver's, over all unmaps and over the large ones."""
    cases = [c for c in results.cases if c.has_recording()]
    if not cases:
        none = nothing("No case of this run replays a recording that holds a driver's answers.")
        return section("recorded", "Counts against Linux's", none)
    parts = [paragraph("The recording holds what the driver that made it (Linux 6.1 in the one that comes with the benchmark) issued for "
                       "each unmap. Some of it was sent at map time, when a block replaced an empty table; the second row leaves "
                       "that out.")]
    for workload in dict.fromkeys(c.workload for c in cases):
        parts += recorded_workload(workload, [c for c in cases if c.workload == workload])
    return section("recorded", "Counts against Linux's", *parts)


def recorded_workload(workload, cases):
    unmaps, large = cases[0].median("pass_unmaps"), cases[0].median("pass_large_unmaps")
    scopes = [("", "", unmaps, f"all {unmaps:.0f} unmaps")]
    if large:
        scopes.append(("large_", ", large", large, f"the {large:.0f} of {LARGE} pages or more"))
    figures, heads, lines = [], ["commands of one pass"], {}
    for scope, mark, number, what in scopes:
        rows = recorded_rows(cases, scope)
        key = f"recorded-{'large' if scope else 'all'}-{slug(workload)}"
        figures.append(figure(key, f"{workload}, {what}: commands per unmap", plots.counts(rows, number, what)))
        heads += [f"TLBI{mark}", f"SYNC{mark}"]
        for label, *numbers in rows:
            lines.setdefault(label.replace("\n", " "), []).extend((n, f"{n:.0f}") for n in numbers)
    caption = f"{workload}, {unmaps:.0f} unmaps" + (f"; large: {scopes[-1][3]}" if large else "")
    return [grid(figures), table(caption, heads, [[label, *numbers] for label, numbers in lines.items()])]


def recorded_rows(cases, scope):
    """(label, TLBIs, SYNCs) of one pass: the recorded driver's, then ours, cases that agree in one row."""
    tlbi, sync, early = (cases[0].median(f"recorded_{scope}{k}") for k in ("tlbi", "sync", "map_time"))
    rows = [("recorded driver", tlbi, sync), ("recorded, without\nmap-time flushes", tlbi - early, sync - early)]
    for policy in dict.fromkeys(c.policy for c in cases):
        mine = [c for c in cases if c.policy == policy]
        found = [(c.median(f"pass_{scope}tlbi"), c.median(f"pass_{scope}sync")) for c in mine]
        if len(set(found)) == 1:
            rows.append((f"shootdown {policy}", *found[0]))
        else:
            rows += [(f"shootdown {policy}\n{c.strategy} {c.domains}", *counted) for c, counted in zip(mine, found)]
    return rows


def throughput(results):
    figures = [figure(f"throughput-{slug(w)}", f"{w}: unmaps per second of all threads", plots.throughput(results, w))
               for w in results.distinct("workload")]
    said = ("The mark is the median of the repetitions, the line runs from the slowest to the fastest. Map, DMA and oracle "
            "bookkeeping included.")
    return section("throughput", "Throughput", paragraph(said), grid(figures) if figures else nothing("No case ran to its end."))


def cover(results):
    if not results.cases:
        return section("cover", "Range cover", nothing("No case ran to its end."))
    policies = results.distinct("policy")
    commands, over, share = [], [], {}
    for workload in results.distinct("workload"):
        cases = results.of(workload=workload)
        commands.append((workload, worst(cases, policies, lambda c: c.median("commands"))))
        if cases[0].median("pass_large_unmaps") not in (0, cases[0].median("pass_unmaps")):
            commands.append((f"{workload}, {LARGE}\npages or more", worst(cases, policies, large_commands)))
        over.append((workload, worst(cases, policies, lambda c: c.median("over_pages"))))
        asked = median(c.median("requested_pages") for c in cases)
        share.update({(workload, p): 100 * v / asked for p, v in over[-1][1].items()})
    drawings = [
        figure("cover-commands", "What an unmap costs in commands, SYNCs included",
               plots.cover(policies, commands, lambda _l, _p, v: f"{v:.3f}", "commands per unmap")),
        figure("cover-pages", "What it invalidates beyond what was asked for, and in percent of that",
               plots.cover(policies, over, lambda l, p, v: f"{v:.3f} ({share[l, p]:.2f} %)" if v else "0", "pages of 4 KiB per unmap"))]
    said = ("A policy decides how a range becomes commands: exact in few with overlap, exact without overlap, or one command that "
            "may cover more. Where strategies or domains differ, the largest count is shown.")
    return section("cover", "Range cover", paragraph(said), grid(drawings))


def large_commands(case):
    return (case.median("pass_large_tlbi") + case.median("pass_large_sync")) / case.median("pass_large_unmaps")


def worst(cases, policies, of):
    return {p: max(of(c) for c in cases if c.policy == p) for p in policies if any(c.policy == p for c in cases)}


def summary(results):
    parts = [paragraph("Per unmap: commands with SYNCs, SYNCs, doorbells, shared read-modify-writes and failed compare-exchanges of the "
                       "invalidation, pages invalidated beyond those asked for, flushes at map time. Medians of the repetitions; "
                       "leaks are their sum.")]
    for workload in results.distinct("workload"):
        parts.append(table(workload, ("case",) + tuple(h for h, _, _ in COLUMNS),
                           [summary_row(c) for c in results.of(workload=workload)]))
    if results.others:
        parts.append(table("Other benchmarks", ("name", "time"), [[n, (t, f"{t:.1f} {unit}")] for n, t, unit in results.others]))
    return section("summary", "Summary table", *parts if results.cases or results.others else [nothing("No case ran to its end.")])


def summary_row(case):
    numbers = [sum(case.values(key)) if key == "leaks" else case.median(key) for _, key, _ in COLUMNS]
    return [f"{case.strategy} {case.policy} {case.domains}"] + [(n, written(n, how)) for n, (_, _, how) in zip(numbers, COLUMNS)]
