#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Include arrows: a header may include only headers of its own room, of the rooms its room may see, and the root files."""
import tree

EVERYWHERE = {"shootdown/config.hpp", "shootdown/version.hpp", "shootdown/status.hpp"}
UMBRELLA = "shootdown/shootdown.hpp"
ARROWS = {
    "arch": set(),
    "env": {"arch"},
    "port": {"arch", "env"},
    "range": {"arch"},
    "table": {"arch", "range", "env"},
    "invs": {"arch", "range", "env", "port"},
    "queue": {"arch", "env", "port"},
    "device": {"queue", "table", "arch", "env", "port"},
    "emu": {"arch", "env"},
    "virt": {"emu", "queue", "port", "arch", "env"},
    "model": {"emu", "arch", "env"},
}
for top in ("sim", "host", "topology"):
    ARROWS[top] = (tree.CORE | {"model"}) - {""}


def check(_root, headers):
    findings = []
    arrows = 0
    known = {h.path for h in headers}
    for h in headers:
        if h.room and h.room not in ARROWS:
            findings.append(f"{h.shown()}: there is no room {h.room}/")
            continue
        for line, bracket, target in h.includes():
            at = f"{h.shown()}:{line}"
            if bracket == '"':
                findings.append(f'{at}: "{target}": include as <shootdown/room/file.hpp>')
                continue
            if not target.startswith("shootdown/"):
                continue
            arrows += 1
            if target not in known:
                findings.append(f"{at}: include/{target} does not exist")
            elif target == UMBRELLA:
                findings.append(f"{at}: include/{target} is for users of the library, not for its headers")
            elif target in EVERYWHERE or target.split("/")[1] == h.room:
                pass
            elif h.path == UMBRELLA:
                if target.split("/")[1] in tree.HOSTED:
                    findings.append(f"{at}: include/{target}: the umbrella is of the freestanding core only")
            elif not h.room or target.split("/")[1] not in ARROWS[h.room]:
                allowed = ", ".join(sorted(ARROWS.get(h.room, set()))) or "no other room"
                findings.append(f"{at}: upward include: {h.shown()} -> include/{target} ({h.room or 'root'} may include {allowed})")
    return findings, f"{len(headers)} headers, {arrows} includes between them, {len(findings)} findings"


if __name__ == "__main__":
    tree.main(check, __doc__)
