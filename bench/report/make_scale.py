#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the JSON of shootdown_scale as one HTML page that needs nothing else. Needs matplotlib (Debian: python3-matplotlib)."""
import argparse
import sys

from make_report import write
from results import ReportError
from scale_results import load


def make(source, target):
    """Raises ReportError or OSError; then `target` is as it was."""
    scale = load(source)
    try:
        import scale_page  # only now: a bad input is told apart from a missing library
    except ImportError as e:
        raise ReportError(f"{e}; the plots need matplotlib (Debian: python3-matplotlib)") from e
    write(target, scale_page.render(scale))


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("json", help="what shootdown_scale wrote")
    parser.add_argument("-o", "--output", default="scale.html", help="the page (default: %(default)s)")
    arguments = parser.parse_args(words)
    try:
        make(arguments.json, arguments.output)
    except ReportError as e:
        print(f"make_scale: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        print(f"make_scale: {e.filename or arguments.output}: {e.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
