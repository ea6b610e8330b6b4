# SPDX-License-Identifier: MIT
"""What the lint checks share: the headers of a tree, their rooms, includes, code and comments.

A check is a program `check_<name>.py [--root DIR]`: it reads DIR/include/shootdown, prints one line per finding and exits 1 if
there is any. self_test.py runs it on a small bad tree under fixtures/<name>/ and compares the findings word for word.
"""
import argparse
import pathlib
import re
import sys

CORE = {"", "arch", "env", "port", "range", "table", "invs", "queue", "device", "emu", "virt"}
HOSTED = {"model", "sim", "host", "topology"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


class Header:
    """One header. `path` is relative to include/, `lines` are its text lines without line ends."""

    def __init__(self, include_dir, file):
        self.path = file.relative_to(include_dir).as_posix()
        parts = self.path.split("/")
        self.room = parts[1] if len(parts) > 2 else ""
        self.text = file.read_text(encoding="utf-8")
        self.lines = self.text.splitlines()
        self.code, self.comments = split_comments(self.lines)

    def includes(self):
        """(line number, '<' or '"', spelled path) of every include directive."""
        found = []
        for number, line in enumerate(self.lines, 1):
            match = INCLUDE.match(line)
            if match and not self.code[number - 1].strip() == "":
                found.append((number, match.group(1), match.group(2)))
        return found

    def shown(self):
        return "include/" + self.path


def split_comments(lines):
    """The lines twice: code with comments and the contents of literals blanked, and comments alone."""
    code, comments = [], []
    in_block = False
    for line in lines:
        c, k = [], []
        i = 0
        quote = None
        while i < len(line):
            two = line[i:i + 2]
            if in_block:
                if two == "*/":
                    in_block = False
                    i += 2
                    continue
                k.append(line[i])
            elif quote:
                if line[i] == "\\":
                    i += 2
                    continue
                if line[i] == quote:
                    quote = None
                    c.append(line[i])
            elif two == "//":
                k.append(line[i + 2:])
                break
            elif two == "/*":
                in_block = True
                i += 2
                continue
            elif line[i] == '"' or (line[i] == "'" and not (i and line[i - 1].isalnum())):  # 1'000 is a number
                quote = line[i]
                c.append(line[i])
            else:
                c.append(line[i])
            i += 1
        code.append("".join(c))
        comments.append("".join(k))
    return code, comments


def headers(root):
    include_dir = pathlib.Path(root) / "include"
    found = [Header(include_dir, f) for f in sorted((include_dir / "shootdown").rglob("*.hpp"))]
    if not found:
        sys.exit(f"no headers below {include_dir}")
    return found


def main(check, description):
    """Runs check(root, headers) -> (findings, summary), prints both, exits 1 if there are findings."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parents[2], help="the project's directory")
    arguments = parser.parse_args()
    findings, summary = check(arguments.root, headers(arguments.root))
    for finding in findings:
        print(finding)
    print(summary)
    sys.exit(1 if findings else 0)
