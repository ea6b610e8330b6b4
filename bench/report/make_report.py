#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the benchmark's JSON report as one HTML page that needs nothing else. Needs matplotlib (Debian: python3-matplotlib)."""
import argparse
import os
import sys
import tempfile

from results import ReportError, load


def write(path, text):
    """Writes all of `text` or leaves what was there."""
    folder = os.path.dirname(path) or "."
    handle, temporary = tempfile.mkstemp(prefix=".report-", suffix=".html", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o666 & ~umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def make(source, target):
    """Raises ReportError or OSError; then `target` is as it was."""
    results = load(source)
    try:
        import page  # only now: a bad input is told apart from a missing library
    except ImportError as e:
        raise ReportError(f"{e}; the plots need matplotlib (Debian: python3-matplotlib)") from e
    write(target, page.render(results))


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("json", help="what shootdown_bench wrote")
    parser.add_argument("-o", "--output", default="bench.html", help="the page (default: %(default)s)")
    arguments = parser.parse_args(words)
    try:
        make(arguments.json, arguments.output)
    except ReportError as e:
        print(f"make_report: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        print(f"make_report: {e.filename or arguments.output}: {e.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
