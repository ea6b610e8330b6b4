# SPDX-License-Identifier: MIT
"""The list of mutants: reading it, checking it, applying one.

A mutant is one textual change of one header. The list is TOML, one file a room in lists/: groups share a header and a killing
test, each mutant says what it changes and what that breaks.

    [[group]]
    file = "queue/ring.hpp"                     # below include/shootdown
    test = "queue/command_queue_test.cpp"       # below tests; several: a list. A mutant may name its own

      [[group.mutant]]
      name = "ring.doorbell_without_wrap"
      breaks = "PROD loses its wrap bit"        # one sentence
      old = '''geometry_.word(value(end))'''    # must stand in the header exactly once
      new = '''geometry_.index(value(end))'''
      filter = "*.some_case"                    # of GoogleTest: what kills it
      flavour = "tsan"                          # optional: plain (default), asan, tsan
      equivalent = "why no test can see it"     # optional: it must survive the test then
      hang = 5                                  # optional: it hangs; seconds until that is believed
      compiler = true                           # optional: a static_assert of the test fails
"""
import dataclasses
import pathlib
import tomllib

FLAVOURS = ("plain", "asan", "tsan")
GROUP_KEYS = {"file", "test", "mutant", "flavour"}
MUTANT_KEYS = {"name", "breaks", "old", "new", "filter", "test", "flavour", "equivalent", "hang", "compiler"}


class ListError(Exception):
    """The list itself is wrong: nothing that a test could tell."""


@dataclasses.dataclass(frozen=True)
class Mutant:
    name: str
    room: str
    file: str
    old: str
    new: str
    breaks: str
    tests: tuple
    filter: str
    flavour: str = "plain"
    equivalent: str = ""
    hang: int = 0
    compiler: bool = False

    @property
    def killing_test(self):
        how = "static_assert" if self.compiler else "" if self.flavour == "plain" else self.flavour
        return f"{' + '.join(self.tests)}: {self.filter}" + (f" ({how})" if how else "")


def _strings(entry, keys, where):
    for key in keys:
        if not isinstance(entry.get(key), str):
            raise ListError(f"{where}: no {key}")


def _mutant(entry, group, where):
    unknown = set(entry) - MUTANT_KEYS
    if unknown:
        raise ListError(f"{where}: unknown key {sorted(unknown)[0]}")
    _strings(entry, ("name", "breaks", "old", "new", "filter"), where)
    tests = entry.get("test", group.get("test"))
    if not tests:
        raise ListError(f"{where}: no test")
    return Mutant(name=entry["name"], room=group["file"].split("/")[0], file=group["file"], old=entry["old"], new=entry["new"],
                  breaks=entry["breaks"], tests=(tests,) if isinstance(tests, str) else tuple(tests), filter=entry["filter"],
                  flavour=entry.get("flavour", group.get("flavour", "plain")), equivalent=entry.get("equivalent", ""),
                  hang=entry.get("hang", 0), compiler=entry.get("compiler", False))


def load(folder):
    """Every mutant of folder/*.toml, in the order of the files. ListError names the file and the entry."""
    mutants, seen = [], {}
    for path in sorted(pathlib.Path(folder).glob("*.toml")):
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ListError(f"{path.name}: {error}") from error
        for group in data.get("group", []):
            _strings(group, ("file",), path.name)
            if set(group) - GROUP_KEYS:
                raise ListError(f"{path.name}: {group['file']}: unknown key {sorted(set(group) - GROUP_KEYS)[0]}")
            for entry in group.get("mutant", []):
                where = f"{path.name}: {entry.get('name', group['file'])}"
                mutant = _mutant(entry, group, where)
                if mutant.name in seen:
                    raise ListError(f"{where}: the name is taken")
                if mutant.flavour not in FLAVOURS:
                    raise ListError(f"{where}: flavour is one of {', '.join(FLAVOURS)}")
                seen[mutant.name] = mutant
                mutants.append(mutant)
    if not mutants:
        raise ListError(f"no mutants in {folder}")
    return mutants


def apply(mutant, text):
    """The header's text with the change made. ListError when the list is stale."""
    found = text.count(mutant.old) if mutant.old else 0
    if found != 1:
        raise ListError(f"{mutant.name}: the list is stale: its old text stands {found} times in {mutant.file}, not once")
    if mutant.old == mutant.new:
        raise ListError(f"{mutant.name}: nothing changes")
    return text.replace(mutant.old, mutant.new)


def check(mutants, root):
    """Everything that can be wrong without compiling: stale texts, files that are not there."""
    errors = []
    for mutant in mutants:
        header = root / "include" / "shootdown" / mutant.file
        missing = [t for t in mutant.tests if not (root / "tests" / t).is_file()]
        if missing:
            errors.append(f"{mutant.name}: no test {missing[0]}")
        if not header.is_file():
            errors.append(f"{mutant.name}: no header {mutant.file}")
            continue
        try:
            apply(mutant, header.read_text(encoding="utf-8"))
        except ListError as error:
            errors.append(str(error))
    return errors
