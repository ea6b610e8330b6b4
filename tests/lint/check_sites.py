#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The atomic-site rule.

A site is a statement with an atomic operation: one that names a memory order, or passes on its caller's.
  * It carries a tag Sn (between CPUs) or Dn (with a device) in a comment on its lines, or directly above or below.
  * The tag stands in a `Sites:` list of the file (comment lines; `S1..S4` is a range), and no listed tag is without a site.
  * release and acquire name their partner: another tag of the file, a tag elsewhere as `room/file.hpp:S2`, `itself`, or, for
    a Dn, the device. The partner may stand in the comment or be the neighbour of an arrow in the list (`S2 release -> S3`).
  * seq_cst names the store-load race it closes. relaxed says why nothing is needed.
  * An atomic operation without any memory order is a finding.
  * A simulator computes with memory orders as data. Such a file says `Sites: none` in a comment; it may then name orders and
    call functions that look like operations, but not use an atomic (std::, native_, Env::) or a compiler's __atomic function.
"""
import re

import tree

ORDER = re.compile(r"\bmemory_order(?:_|::)(relaxed|consume|acquire|release|acq_rel|seq_cst)\b")
CALL = re.compile(r"(?:\.|->)\s*(load|store|store_low|exchange|compare_exchange_weak|compare_exchange_strong|fetch_(?:add|sub|and|or|xor))\s*\(")
PARAMETER = re.compile(r"\bmemory_order\s+(\w+)\s*[,)=]")
TAG = re.compile(r"(?<![\w:])([SD]\d+)\b")
RANGE = re.compile(r"(?<![\w:])([SD])(\d+)\s*(?:\.\.\.?|-|to)\s*([SD]?)(\d+)\b")
ELSEWHERE = re.compile(r"(?:([\w/]+\.hpp)):([SD]\d+)\b")
REQUIREMENT = re.compile(r"^\s*\{.*\}\s*noexcept\b")  # `{ a.load(o) } noexcept` of a concept: no operation
ARROW = re.compile(r"->|<->|<-|\bwith\b")


def expand(text):
    """`S1..S4` written out."""

    def write(match):
        low, high = int(match.group(2)), int(match.group(4))
        if match.group(3) not in ("", match.group(1)) or high < low:
            return match.group(0)
        return " ".join(f"{match.group(1)}{n}" for n in range(low, high + 1))

    return RANGE.sub(write, text)


class Sites:
    """The `Sites:` lists of one header: declared tags, and which tags an arrow joins."""

    def __init__(self, header):
        self.declared, self.joined = {}, {}
        n = 0
        while n < len(header.lines):
            if "Sites:" not in header.comments[n]:
                n += 1
                continue
            text = header.comments[n].split("Sites:", 1)[1]
            first = n + 1
            n += 1
            while n < len(header.lines) and not header.code[n].strip() and header.comments[n].strip():
                text += "\n" + header.comments[n]
                n += 1
            text = expand(text)
            for tag in TAG.findall(text):
                self.declared.setdefault(tag, first)
            for part in re.split(r"[;\n]", text):
                self.join(part)

    def join(self, part):
        """Every tag right before an arrow is a partner of every tag right after it, and the other way round."""
        pieces = ARROW.split(part)
        for left, right in zip(pieces, pieces[1:]):
            before, after = TAG.findall(left), TAG.findall(right)
            if before and after:
                for a in before[-1:]:
                    for b in after[:1] + (after[1:] if re.search(r"[,/]|\band\b", right) else []):
                        self.joined.setdefault(a, set()).add(b)
                        self.joined.setdefault(b, set()).add(a)


def statements(header):
    """(first, last) indices of lines that hold one statement with an atomic operation."""
    forwarded = set(PARAMETER.findall("\n".join(header.code)))
    found = []
    n = 0
    while n < len(header.code):
        if REQUIREMENT.search(header.code[n]) or not (CALL.search(header.code[n]) or ORDER.search(header.code[n])):
            n += 1
            continue
        last = n
        while last + 1 < len(header.code) and last - n < 8 and not re.search(r"[;{}]\s*$", header.code[last]):
            last += 1
        code = " ".join(header.code[n:last + 1])
        orders = ORDER.findall(code)
        calls = [arguments_of(code, m.end()) for m in CALL.finditer(code)]
        passes = any(set(re.findall(r"\w+", a)) & forwarded for a in calls)
        bare = [a for a in calls if not ORDER.search(a) and not set(re.findall(r"\w+", a)) & forwarded]
        found.append((n, last, orders, passes, bool(bare)))
        n = last + 1
    return found


def arguments_of(code, start):
    depth = 1
    for end in range(start, len(code)):
        depth += {"(": 1, ")": -1}.get(code[end], 0)
        if depth == 0:
            return code[start:end]
    return code[start:]


def indent(line):
    return len(line) - len(line.lstrip())


def only_comment(header, n):
    return 0 <= n < len(header.lines) and not header.code[n].strip() and header.comments[n].strip() != ""


def comment_of(header, first, last, taken):
    """(the words with the site's number, all of the site's words).

    Its own lines come first, with the lines that continue their trailing comment (indented deeper than the code). Without a
    number there, the comment lines above, else those below, else the comment of a neighbour that is no site itself.
    """
    code_indent = indent(header.lines[first])
    own = " ".join(header.comments[first:last + 1])
    n = last + 1
    while only_comment(header, n) and indent(header.lines[n]) > code_indent:
        own += " " + header.comments[n]
        n += 1
    after = n
    above = []
    n = first - 1
    while only_comment(header, n) and indent(header.lines[n]) <= code_indent:
        above.insert(0, header.comments[n])
        n -= 1
    if not above and n == first - 1 and n >= 0 and n not in taken and not only_comment(header, n):
        above = [header.comments[n]]
    below = []
    n = after
    while only_comment(header, n):
        below.append(header.comments[n])
        n += 1
    if n in taken and below:
        below = []  # these lines introduce the next site
    if after == last + 1 and not only_comment(header, after) and after < len(header.lines) and after not in taken:
        below = [header.comments[after]]
    above, below = " ".join(above), " ".join(below)
    if TAG.search(own):
        return own, own if TAG.search(above) else above + " " + own
    if TAG.search(above):
        return above, above + " " + own
    if TAG.search(below):
        return below, own + " " + below
    return "", own


NONE = re.compile(r"\bSites:\s*none\b")
REAL = re.compile(r"\bstd::atomic\b|\bnative_(?:atomic|dma_word)\b|\btemplate atomic<|\b__atomic_\w+|\b__sync_\w+")


def check(_root, headers):
    findings = []
    lists = {h.path: Sites(h) for h in headers}
    sites = numbered = 0

    def exists(file, tag):
        return any(path.endswith("/" + file) and tag in s.declared for path, s in lists.items())

    for h in headers:
        declared = lists[h.path]
        if any(NONE.search(c) for c in h.comments):
            findings += [f"{h.shown()}:{n + 1}: an atomic in a file that says 'Sites: none'" for n, c in enumerate(h.code) if REAL.search(c)]
            continue
        used = set()
        found = statements(h)
        taken = {n for first, last, *_ in found for n in range(first, last + 1)}
        for first, last, orders, passes, bare in found:
            at = f"{h.shown()}:{first + 1}"
            if bare:
                findings.append(f"{at}: atomic operation without a memory order")
            if not orders and not passes:
                continue
            sites += 1
            tagged, words = comment_of(h, first, last, taken)
            tags = TAG.findall(expand(tagged))
            if not tags:
                findings.append(f"{at}: atomic site without a number (Sn or Dn)")
                continue
            numbered += 1
            own = tags[0]
            used.update(TAG.findall(expand(words)))
            if own not in declared.declared:
                findings.append(f"{at}: {own} is not in a 'Sites:' list of this file")
            for file, tag in ELSEWHERE.findall(words):
                if not exists(file, tag):
                    findings.append(f"{at}: {own} names {file}:{tag}, which no header declares")
            others = {t for t in TAG.findall(expand(words)) if t != own}
            for tag in sorted(others):
                if tag not in declared.declared:
                    findings.append(f"{at}: {own} names {tag}, which this file does not declare")
            partner = (others or declared.joined.get(own) or ELSEWHERE.search(words) or "itself" in words or
                       (own[0] == "D" and re.search(r"device|SMMU|walk", words)))
            if set(orders) & {"acquire", "release", "acq_rel"} and not partner:
                findings.append(f"{at}: {own} names no partner")
            if "seq_cst" in orders and not re.search(r"store[- ]*(>|to|/)?[- ]*load", words, re.IGNORECASE):
                findings.append(f"{at}: {own} is seq_cst and does not name the store-load race it closes")
            if set(orders) == {"relaxed"} and not set(re.findall(r"[a-z]{2,}", words.lower())) - {"relaxed"}:
                findings.append(f"{at}: {own} is relaxed and does not say why nothing is needed")
        for tag, line in sorted(declared.declared.items()):
            if tag not in used and not mentioned(h, tag, line):
                findings.append(f"{h.shown()}:{line}: {tag} is listed and marks no site")
    percent = 100.0 * numbered / sites if sites else 100.0
    return findings, f"{numbered} of {sites} atomic sites numbered, {percent:.1f} %; {len(findings)} findings"


def mentioned(header, tag, declared_at):
    """Does `tag` mark a line of code outside the list: a fence, or an operation of the environment that hides its order?"""
    for n, (code, comment) in enumerate(zip(header.code, header.comments)):
        if n + 1 > declared_at and tag in TAG.findall(expand(comment)):
            if code.strip() or (n + 1 < len(header.code) and header.code[n + 1].strip()):
                return True
    return False


if __name__ == "__main__":
    tree.main(check, __doc__)
