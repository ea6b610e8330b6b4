# SPDX-License-Identifier: MIT
"""Reads what shootdown_scale wrote and checks that it holds what the page shows."""
import dataclasses
import json
import math

from results import ReportError

NUMBERS = ("per_second", "p50_ns", "p99_ns", "worst_ns", "measured", "rmw", "attempts", "doorbells", "busiest_line")


@dataclasses.dataclass(frozen=True)
class Scale:
    data: dict

    @property
    def strategies(self):
        return self.data["strategies"]

    @property
    def hardware(self):
        return [(h["name"], h["about"]) for h in self.data["hardware"]]

    def points(self, hardware, strategy):
        """By CPUs, the failed ones left out."""
        return [p for p in self.data["points"] if p["hardware"] == hardware and p["strategy"] == strategy and not p["failure"]]

    def failures(self):
        return [f"{p['strategy']} on {p['hardware']}, {p['cpus']} CPUs: {p['failure']}" for p in self.data["points"] if p["failure"]]

    def calibration(self):
        """(CPUs, published, fitted, published, predicted): thousands per CPU."""
        rows = [(r["cpus"], r["cas"], cas, r["add"], add) for r, cas, add in
                zip(self.data["published"], self.data["fitted"]["cas"], self.data["predicted"]["add"])]
        return rows


def load(path):
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except OSError as e:
        raise ReportError(f"{path}: {e.strerror}") from e
    except ValueError as e:
        raise ReportError(f"{path}: not JSON: {e}") from e
    try:
        check(data)
    except (KeyError, TypeError, AttributeError, IndexError) as e:
        raise ReportError(f"{path}: not what shootdown_scale writes: {e!r}") from e
    return Scale(data)


def check(data):
    if data["kind"] != "shootdown_scale":
        raise KeyError("kind")
    names, kinds = set(data["strategies"]), {h["name"] for h in data["hardware"] if h["about"]}
    for p in data["points"]:
        if p["strategy"] not in names or p["hardware"] not in kinds or not isinstance(p["failure"], str):
            raise KeyError(f"point {p}")
        for key in NUMBERS + ("cpus",):
            number(p[key])
        if not p["failure"] and (p["per_second"] <= 0 or p["p50_ns"] <= 0 or p["cpus"] < 1):
            raise KeyError(f"point {p}")
    rows = len(data["published"])
    if not rows or len(data["fitted"]["cas"]) != rows or len(data["predicted"]["add"]) != rows:
        raise KeyError("published")
    for value in [v for r in data["published"] for v in (r["cpus"], r["cas"], r["add"])] + list(data["unfitted"].values()):
        if number(value) <= 0:
            raise KeyError("published")
    for value in (*data["fitted"]["cas"], *data["predicted"]["add"], data["fitted"]["attempts"], data["published_attempts"],
                  data["fitted"]["misfit"], *data["parameters"].values(), data["seed"]):
        number(value)
    for q in data["queueing"]:
        for key in ("sync", "cpus", "model_per_second", "per_second", "p99_ns"):
            number(q[key])


def number(value):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError(f"{value!r} is no number")
    return value
