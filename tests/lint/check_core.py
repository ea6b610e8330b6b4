#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The freestanding core: only listed standard headers, no words that need a run-time, std::atomic only inside env/."""
import re

import tree

STANDARD = set(
    "algorithm array atomic bit compare concepts cstddef cstdint cstring initializer_list limits new span tuple type_traits"
    " utility".split())
WORDS = {
    "throw": "no exceptions", "try": "no exceptions", "catch": "no exceptions",
    "dynamic_cast": "no RTTI", "typeid": "no RTTI",
    "virtual": "no virtual functions", "thread_local": "no thread-local storage",
}
QUALIFIED = re.compile(r"\bstd::(string|vector|function|optional|any|variant|map|set|list|deque|shared_ptr|unique_ptr|thread|mutex)\b")
ATOMIC = re.compile(r"\bstd::atomic(_ref|_flag)?\b(?!_thread)")


def check(_root, headers):
    findings = []
    core = [h for h in headers if h.room in tree.CORE]
    for h in core:
        for line, _bracket, target in h.includes():
            if not target.startswith("shootdown/") and target not in STANDARD:
                findings.append(f"{h.shown()}:{line}: <{target}> is not on the core's list of standard headers")
        for line, code in enumerate(h.code, 1):
            for word in re.findall(r"[A-Za-z_]+", code):
                if word in WORDS:
                    findings.append(f"{h.shown()}:{line}: '{word}' in the core: {WORDS[word]}")
            for match in QUALIFIED.finditer(code):
                findings.append(f"{h.shown()}:{line}: {match.group(0)} in the core")
            if h.room != "env":
                for match in ATOMIC.finditer(code):
                    findings.append(f"{h.shown()}:{line}: {match.group(0)} in the core: use Env::atomic")
    return findings, f"{len(core)} core headers, {len(findings)} findings"


if __name__ == "__main__":
    tree.main(check, __doc__)
