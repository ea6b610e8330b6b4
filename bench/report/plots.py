# SPDX-License-Identifier: MIT
"""The figures. Each function takes the results and returns (figure, alt text); all have the width of a phone."""
import math

import matplotlib

matplotlib.use("svg")  # before pyplot: no display is needed

from matplotlib import pyplot, ticker  # noqa: E402

import palette  # noqa: E402
from results import PERCENTILES  # noqa: E402

WIDTH = 3.9  # inches; 9 point letters stay readable when this is the width of a phone
INK, MUTED, GRID = (palette.LIGHT[c] for c in ("ink", "muted", "grid"))
TLBI, SYNC = palette.LIGHT["blue"], palette.LIGHT["orange"]
LINES = ("-", "--", ":", "-.")
BODY = [label for _, mille, label in PERCENTILES if mille <= 900]
TAIL = [label for _, mille, label in PERCENTILES if mille >= 900]
MARKERS = ("o", "s", "^", "D", "v", "P")

pyplot.rcParams.update({
    "svg.hashsalt": "shootdown", "svg.fonttype": "none", "font.family": "DejaVu Sans", "font.size": 9,
    "axes.edgecolor": MUTED, "axes.labelcolor": INK, "text.color": INK, "axes.titlesize": 9, "axes.titlecolor": INK,
    "axes.titlelocation": "left", "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.6,
    "legend.frameon": False, "legend.fontsize": 9, "legend.handlelength": 2.2, "legend.columnspacing": 1.2,
    "legend.borderaxespad": 0})


def new_figure(height):
    figure, axes = pyplot.subplots(figsize=(WIDTH, height + 0.2), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.04)
    return figure, axes


def legend_above(axes, columns=2):
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.01), ncols=columns)


def engineering(unit=""):
    return ticker.EngFormatter(unit=unit, sep=" ")


def latency(results, workload, policy):
    """Percentile curves: colour and marker are the strategy, the line style is the domains.

    Two panels: the body of the distribution on a linear axis, the tail, which spans decades, on a logarithmic one.
    """
    figure, (body, tail) = pyplot.subplots(1, 2, figsize=(WIDTH, 2.9), layout="constrained", width_ratios=(1, 1))
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.04, wspace=0.02)
    colours = palette.assign(results.distinct("strategy"), palette.STRATEGIES)
    strategies, domains = list(colours), results.distinct("domains")
    told = []
    for case in results.of(workload=workload, policy=policy):
        points = case.percentiles()
        look = {"color": colours[case.strategy], "linestyle": LINES[domains.index(case.domains) % len(LINES)], "linewidth": 1.4,
                "marker": MARKERS[strategies.index(case.strategy) % len(MARKERS)], "markersize": 3.6,
                "label": f"{case.strategy}, {case.domains}"}
        for axes, labels in ((body, BODY), (tail, TAIL)):
            mine = [(labels.index(label), ns * 1e-9) for label, ns in points if label in labels]
            axes.plot([at for at, _ in mine], [seconds for _, seconds in mine], **look)
        told.append(f"{case.strategy} {case.domains} " + ", ".join(f"{label}: {duration(ns)}" for label, ns in points))
    finish_percentiles(body, BODY)
    finish_percentiles(tail, TAIL)
    body.set_ylim(0, body.dataLim.intervaly[1] * 1.08)
    body.yaxis.set_major_locator(ticker.MaxNLocator(5))
    tail.set_yscale("log")
    tail.yaxis.tick_right()
    tail.spines["left"].set_visible(False)
    tail.spines["right"].set_visible(True)
    whole_decades(tail)
    for axes in (body, tail):
        axes.yaxis.set_major_formatter(engineering("s"))
    figure.legend(*body.get_legend_handles_labels(), loc="upper left", ncols=2)
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.19 * math.ceil(len(told) / 2) / 2.9))
    return figure, f"Latency percentiles, workload {workload}, policy {policy}. " + "; ".join(told) + "."


def finish_percentiles(axes, labels):
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.35, len(labels) - 0.65)
    axes.grid(axis="y")
    axes.set_xlabel("percentile, linear" if labels is BODY else "tail, logarithmic")


def whole_decades(axes):
    """A logarithmic axis from a power of ten to a power of ten: at least two labels."""
    low, high = axes.dataLim.intervaly
    bottom = math.floor(math.log10(max(low, 1e-10)))
    top = math.ceil(math.log10(max(high, 1e-10) * 1.01))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.set_ylim(10.0 ** bottom, 10.0 ** max(top, bottom + 1))


def throughput(results, workload):
    """Median of the repetitions as a marker, the whole range as a line; one row for each policy and kind of domains."""
    cases = results.of(workload=workload)
    rows = list(dict.fromkeys((c.policy, c.domains) for c in cases))
    colours = palette.assign(results.distinct("strategy"), palette.STRATEGIES)
    figure, axes = new_figure(0.75 + 0.3 * len(rows))
    told = []
    for index, (strategy, colour) in enumerate(colours.items()):
        offset = (index - (len(colours) - 1) / 2) * 0.3
        mine = [c for c in cases if c.strategy == strategy]
        values = [c.values("unmaps_per_second") for c in mine]
        middle = [c.median("unmaps_per_second") for c in mine]
        at = [rows.index((c.policy, c.domains)) + offset for c in mine]
        axes.hlines(at, [min(v) for v in values], [max(v) for v in values], color=colour, linewidth=1.6)
        axes.plot(middle, at, linestyle="none", marker=MARKERS[index % len(MARKERS)], markersize=5, color=colour, label=strategy)
        told += [f"{strategy} {c.policy} {c.domains} {m:.0f} ({min(v):.0f} to {max(v):.0f})"
                 for c, m, v in zip(mine, middle, values)]
    axes.set_yticks(range(len(rows)), [f"{p}\n{d}" if len(p + d) > 18 else f"{p}, {d}" for p, d in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1.08 * max([1.0] + [v for c in cases for v in c.values("unmaps_per_second")]))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(4))
    axes.xaxis.set_major_formatter(engineering())
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel("unmaps per second")
    legend_above(axes, 3)
    return figure, f"Unmaps per second, workload {workload}, median (least to most). " + "; ".join(told) + "."


def counts(rows, unmaps, what):
    """Stacked bars of TLBIs and SYNCs per unmap. `rows` are (label, TLBIs, SYNCs) of one pass of `unmaps` unmaps."""
    figure, axes = new_figure(0.6 + 0.34 * len(rows))
    at = range(len(rows))
    tlbi, sync = [t / unmaps for _, t, _ in rows], [s / unmaps for _, _, s in rows]
    axes.barh(at, tlbi, height=0.62, color=TLBI, label="TLBI")
    axes.barh(at, sync, left=tlbi, height=0.62, color=SYNC, label="SYNC")
    for y, t, s in zip(at, tlbi, sync):
        axes.annotate(f"{t:.3f} + {s:.3f}", (t + s, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5)
    finish_bars(axes, [label for label, _, _ in rows], [t + s for t, s in zip(tlbi, sync)], "commands per unmap")
    told = "; ".join(f"{label} {t:.3f} TLBI and {s:.3f} SYNC".replace("\n", " ") for (label, _, _), t, s in zip(rows, tlbi, sync))
    return figure, f"Commands per unmap, {what}. {told}."


def cover(policies, rows, text, xlabel):
    """Grouped bars, one group a workload. `rows` are (label, {policy: value}); `text(label, policy, value)` labels a bar."""
    colours = palette.assign(policies, palette.POLICIES)
    figure, axes = new_figure(0.6 + (0.12 + 0.19 * len(policies)) * len(rows))
    height = 0.8 / len(policies)
    told = []
    for index, policy in enumerate(policies):
        mine = [(y, label, values[policy]) for y, (label, values) in enumerate(rows) if policy in values]
        at = [y + (index - (len(policies) - 1) / 2) * height for y, _, _ in mine]
        axes.barh(at, [v for _, _, v in mine], height=height * 0.86, color=colours[policy], label=policy)
        for y, (_, label, value) in zip(at, mine):
            axes.annotate(text(label, policy, value), (value, y), xytext=(4, 0), textcoords="offset points", va="center",
                          fontsize=8.5)
            told.append(f"{label} {policy} {text(label, policy, value)}".replace("\n", " "))
    finish_bars(axes, [label for label, _ in rows], [v for _, values in rows for v in values.values()], xlabel)
    legend_above(axes, 3)
    return figure, f"{xlabel}, by workload and policy. " + "; ".join(told) + "."


def finish_bars(axes, labels, lengths, xlabel):
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(0, max(max(lengths, default=0) * 1.55, 1e-3))  # room for the numbers behind the bars
    axes.xaxis.set_major_locator(ticker.MaxNLocator(4))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel(xlabel)
    legend_above(axes)


def duration(ns):
    if ns >= 1e6:
        return f"{ns / 1e6:.2f} ms"
    return f"{ns / 1e3:.1f} µs" if ns >= 1e4 else f"{ns:.0f} ns"
