# SPDX-License-Identifier: MIT
"""The page of `./run scale`: throughput and latency against CPUs, the calibration, the tables."""
import math
from html import escape

from matplotlib import ticker

import page
import palette
import plots
import sections

CONTENTS = (("throughput", "Throughput"), ("latency", "Latency"), ("calibration", "Calibration"), ("losses", "Where each loses"),
            ("queueing", "Queueing model"), ("tables", "Tables"), ("method", "Method"))
COLOURS = {"owner_cas": "blue", "locked": "vermillion", "owner_add": "green", "ticket": "purple", "group_commit": "orange"}
MARGIN = 0.97  # of the baseline's throughput: less counts as behind
TAIL = 1.10    # times its p99


def render(scale):
    links = "".join(f'<a href="#{key}">{name}</a>' for key, name in CONTENTS)
    body = (verdict(scale), f'<nav aria-label="Contents">{links}</nav>', throughput(scale), latency(scale), calibration(scale),
            losses(scale), queueing(scale), tables(scale), method(scale))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>shootdown: scaling in virtual time</title>
<style>
{page.style()}</style>
</head>
<body>
<main>
<h1>shootdown: scaling in virtual time</h1>
{chr(10).join(body)}
</main>
</body>
</html>
"""


def verdict(scale):
    failures = scale.failures()
    points = len(scale.data["points"])
    lines = [f'<p class="number"><data value="{points}">{points}</data> runs</p>',
             sections.paragraph("In virtual time on the reference machine, the library's own queue code. In each of them every wait "
                                "returned after its own SYNC was complete, and the device found no slot that was published unwritten."
                                if not failures else "Some failed:")]
    lines += [f'<p class="failure">{escape(f)}</p>' for f in failures]
    note = [sections.nothing("A quick run: fewer operations, four CPU counts.")] if scale.data.get("quick") else []
    return f'<div class="verdict {"bad" if failures else "good"}" id="runs">' + "\n".join(lines) + "</div>\n" + "\n".join(note)


def curves(scale, hardware, draw, ylabel, seconds):
    """One line for each strategy against CPUs, both axes logarithmic. `draw(axes, xs, points, look)` adds it."""
    figure, axes = plots.new_figure(2.6)
    colours = palette.assign(scale.strategies, COLOURS)
    told, counts = [], set()
    for index, (strategy, colour) in enumerate(colours.items()):
        points = scale.points(hardware, strategy)
        xs = [p["cpus"] for p in points]
        counts.update(xs)
        look = {"color": colour, "linewidth": 1.4, "marker": plots.MARKERS[index % len(plots.MARKERS)], "markersize": 3.6}
        told.append(f"{strategy}: " + draw(axes, xs, points, look, strategy))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sorted(counts), [str(c) for c in sorted(counts)])
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    plots.whole_decades(axes)
    axes.yaxis.set_major_formatter(plots.engineering("s" if seconds else ""))
    axes.grid(axis="both")
    axes.set_xlabel("CPUs")
    axes.set_ylabel(ylabel)
    figure.legend(*axes.get_legend_handles_labels(), loc="upper left", ncols=3, columnspacing=1.0)
    rows = math.ceil(len(colours) / 3)
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.19 * rows / 2.8))
    return figure, told


def throughput(scale):
    def draw(axes, xs, points, look, name):
        axes.plot(xs, [p["per_second"] for p in points], label=name, **look)
        return ", ".join(f"{p['cpus']} CPUs {p['per_second']:.0f}" for p in points)

    figures = []
    for name, about in scale.hardware:
        figure, told = curves(scale, name, draw, "operations per second", False)
        alt = f"Operations per second of all CPUs, {about}. " + "; ".join(told) + "."
        figures.append(sections.figure(f"throughput-{name}", about, (figure, alt)))
    said = "Every CPU thinks 300 ns, submits one TLBI and its SYNC, waits, and begins again. Operations of all CPUs per second."
    return sections.section("throughput", "Throughput against CPUs", sections.paragraph(said), sections.grid(figures))


def latency(scale):
    def draw(axes, xs, points, look, name):
        axes.plot(xs, [p["p50_ns"] * 1e-9 for p in points], label=name, **look)
        axes.plot(xs, [p["p99_ns"] * 1e-9 for p in points], **{**look, "linestyle": ":"})
        return ", ".join(f"{p['cpus']} CPUs {plots.duration(p['p50_ns'])} and {plots.duration(p['p99_ns'])}" for p in points)

    figures = []
    for name, about in scale.hardware:
        figure, told = curves(scale, name, draw, "p50 solid, p99 dotted", True)
        alt = f"Latency from submit to the end of wait, p50 and p99, {about}. " + "; ".join(told) + "."
        figures.append(sections.figure(f"latency-{name}", about, (figure, alt)))
    return sections.section("latency", "Latency against CPUs", sections.paragraph("From submit to the return of wait."),
                            sections.grid(figures))


def calibration(scale):
    data = scale.data
    figure, axes = plots.new_figure(2.4)
    rows = scale.calibration()
    told = []
    lines = ((1, "blue", "-", "CAS, published"), (2, "blue", ":", "CAS, fitted"), (3, "green", "-", "add, published"),
             (4, "green", ":", "add, predicted"))
    for index, (column, colour, style, label) in enumerate(lines):
        axes.plot([r[0] for r in rows], [r[column] * 1e3 for r in rows], color=palette.LIGHT[colour], linestyle=style, linewidth=1.4,
                  marker=plots.MARKERS[index], markersize=3.6, label=label)
        told.append(f"{label}: " + ", ".join(f"{r[0]} CPUs {r[column]:.1f} thousand" for r in rows))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks([r[0] for r in rows], [str(r[0]) for r in rows])
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    plots.whole_decades(axes)
    axes.yaxis.set_major_formatter(plots.engineering())
    axes.grid(axis="both")
    axes.set_xlabel("CPUs")
    axes.set_ylabel("map+unmap/s per CPU")
    plots.legend_above(axes, 2)
    drawing = figure, "Published, fitted and predicted map and unmap per second and CPU. " + "; ".join(told) + "."

    def entry(published, value):
        return [(published, f"{published:g}"), (value, f"{value:.1f}"), (100 * (value / published - 1), f"{100 * (value / published - 1):+.0f} %")]
    body = [[str(cpus), *entry(cas, fitted), *entry(add, predicted)] for cpus, cas, fitted, add, predicted in rows]
    other = data["unfitted"]
    body.append([f"{other['cpus']}, both predicted", *entry(other["cas"], other["cas_predicted"]), *entry(other["add"], other["add_predicted"])])
    heads = ["CPUs", "CAS published", "fitted", "CAS error", "add published", "predicted", "add error"]
    p = data["parameters"]
    said = (f"Line model: oldest_first {p['oldest_first']}, distance {p['distance']}, crowding {p['crowding']} thousandths; "
            f"{p['work_ns']} ns of work besides the invalidation. These were fitted to the compare-exchange column and to the share of "
            f"compare-exchanges that succeed at 64 CPUs (published 1 in {data['published_attempts']:.0f}, fitted 1 in "
            f"{data['fitted']['attempts']:.1f}); nothing was fitted to the fetch-add column. A plain FIFO line would need "
            f"{data['fifo']['attempts']:.0f} attempts.")
    return sections.section("calibration", "Calibration", sections.paragraph(said),
                            sections.grid([sections.figure("calibration-plot", "J. Garry, August 2020", drawing)]),
                            sections.table("Map and unmap per second and CPU, thousands", heads, body))


def losses(scale):
    baseline = scale.strategies[0]
    parts = [sections.paragraph(f"CPU counts at which a strategy has less than {MARGIN:.0%} of the throughput of {baseline}, or more than "
                                f"{TAIL:.0%} of its p99. With preemption a few per cent are chance.")]
    for strategy in scale.strategies[1:]:
        rows = []
        for name, about in scale.hardware:
            theirs = {p["cpus"]: p for p in scale.points(name, baseline)}
            for mine in scale.points(name, strategy):
                other = theirs.get(mine["cpus"])
                if other is None:
                    continue
                share, tail = mine["per_second"] / other["per_second"], mine["p99_ns"] / max(other["p99_ns"], 1)
                if share < MARGIN or tail > TAIL:
                    rows.append([f"{about}, {mine['cpus']} CPUs", (share, f"{share:.2f}"), (tail, f"{tail:.2f}")])
        heads = ["where", "throughput", "p99"]
        parts.append(sections.table(f"{strategy} against {baseline}", heads, rows) if rows else
                     sections.nothing(f"{strategy}: nowhere behind {baseline}."))
    return sections.section("losses", "Where each loses", *parts)


def queueing(scale):
    rows = [[f"SYNC {q['sync']} ns, {q['cpus']} CPUs", (q["model_per_second"], sections.human(q["model_per_second"])),
             (q["per_second"], sections.human(q["per_second"])),
             (q["per_second"] / q["model_per_second"] - 1, f"{100 * (q['per_second'] / q['model_per_second'] - 1):+.0f} %")]
            for q in scale.data["queueing"]]
    said = ("The model has one shared line, the reservation's, and doorbells that combine; the real queue also passes a lock, valid bits, "
            "slots and the message of the SYNC from CPU to CPU. Where the SYNC is the bottleneck both agree.")
    return sections.section("queueing", "Beside a queueing model", sections.paragraph(said),
                            sections.table("One SYNC per caller, operations per second", ["case", "model", "owner_add", "error"], rows))


def tables(scale):
    heads = ["strategy, CPUs", "op/s", "p50", "p99", "max", "RMWs", "attempts", "bells", "line", "measured"]
    parts = []
    for name, about in scale.hardware:
        rows = []
        for strategy in scale.strategies:
            for p in scale.points(name, strategy):
                rows.append([f"{strategy}, {p['cpus']}", (p["per_second"], sections.human(p["per_second"])),
                             *((p[k], plots.duration(p[k])) for k in ("p50_ns", "p99_ns", "worst_ns")), (p["rmw"], f"{p['rmw']:.2f}"),
                             (p["attempts"], f"{p['attempts']:.2f}"), (p["doorbells"], f"{p['doorbells']:.2f}"),
                             (p["busiest_line"], f"{100 * p['busiest_line']:.0f} %"), (p["measured"], f"{p['measured']:.0f}")])
        parts.append(f"<details><summary>{escape(about)}</summary>{sections.table(name, heads, rows)}</details>")
    said = ("Per operation: shared read-modify-writes, attempts per reservation (one and the compare-exchanges that failed), doorbells. "
            "line: how much of the time the busiest cache line was on its way; near 100 % it is the bottleneck. "
            "The last column is the number of operations behind a row.")
    return sections.section("tables", "Tables", sections.paragraph(said), *parts)


def method(scale):
    return sections.section("method", "Method", sections.paragraph(
        "Discrete events in virtual time, deterministic for a seed "
        f"({scale.data['seed']} here): costs of the reference machine, cache lines that one CPU at a time gets, an SMMU that consumes in order. "
        "The queue code is the library's own. docs/measuring.md says what is modelled, what was fitted and what this cannot show."))
