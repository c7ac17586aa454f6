"""Makes the guard's English lexicon from WordNet 3.0: which words there are, which mean the same.

    python -m tools.lexicon /usr/share/wordnet

The folder is that of Debian's package `wordnet-base`. Kept are single words: common and proper
ones, synonyms among the first senses of words that occur in WordNet's tagged corpus, antonyms,
derivations (cancel, cancellation) and irregular forms. Run by hand when the rules here change.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

OUT = Path("fairstow/semantic_cache/guard/languages/en.lexicon.json.gz")
PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv", "s": "adj"}
FIRST_SENSES = 3
_WORD = re.compile(r"[A-Za-z]+\Z")


class Synset(NamedTuple):
    """What means one thing: its words, and (symbol, target, which word here, which there)."""

    words: list[str]
    pointers: list[tuple[str, tuple[str, str], int, int]]


def main(folder: Path) -> None:
    """Write the lexicon."""
    synsets = {key: synset for part in set(PARTS.values()) for key, synset in _read(folder, part)}
    counts = _counts(folder)
    senses = _senses(folder)
    words = {word for synset in synsets.values() for word in synset.words if _WORD.match(word)}
    common = {word for word in words if word.islower()}
    proper = {word.lower() for word in words if word[0].isupper()} - common
    lexicon = {
        "source": "WordNet 3.0, Princeton University; see NOTICE",
        "common": " ".join(sorted(common)),
        "proper": " ".join(sorted(proper)),
        "synonyms": _synonyms(synsets, counts, senses),
        "antonyms": _related(synsets, "!", counts, tagged=False),
        "derived": _related(synsets, "+", counts, tagged=True),
        "irregular": _irregular(folder, common),
    }
    text = json.dumps(lexicon, separators=(",", ":"), sort_keys=True).encode()
    OUT.write_bytes(gzip.compress(text, mtime=0))
    sizes = {name: len(value) for name, value in lexicon.items()}
    print(f"{OUT}: {OUT.stat().st_size:,} bytes of {len(text):,}; {sizes}")


def _read(folder: Path, part: str) -> Iterator[tuple[tuple[str, str], Synset]]:
    for line in (folder / f"data.{part}").read_text().splitlines():
        if line.startswith("  "):
            continue
        fields = line.split(" | ")[0].split()
        size = int(fields[3], 16)
        words = [fields[4 + 2 * index].split("(")[0] for index in range(size)]
        start = 5 + 2 * size
        pointers = [
            (symbol, (PARTS[of], at), int(which[:2], 16), int(which[2:], 16))
            for symbol, at, of, which in (
                fields[start + 4 * index : start + 4 * index + 4]
                for index in range(int(fields[start - 1]))
            )
        ]
        yield (part, fields[0]), Synset(words, pointers)


def _counts(folder: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    for line in (folder / "cntlist.rev").read_text().splitlines():
        key, _, count = line.split()
        counts[key.split("%")[0]] += int(count)
    return counts


def _senses(folder: Path) -> dict[tuple[str, str, str], int]:
    """Return which sense of a word a synset is, from 1, the most frequent first."""
    found: dict[tuple[str, str, str], int] = {}
    for part in set(PARTS.values()):
        for line in (folder / f"index.{part}").read_text().splitlines():
            if line.startswith(" "):
                continue
            fields = line.split()
            offsets = fields[6 + int(fields[3]) :]
            found |= {(fields[0], part, at): rank for rank, at in enumerate(offsets, 1)}
    return found


def _synonyms(
    synsets: dict[tuple[str, str], Synset],
    counts: Counter[str],
    senses: dict[tuple[str, str, str], int],
) -> list[str]:
    groups = set()
    for (part, at), synset in synsets.items():
        group = {
            word
            for word in synset.words
            if _WORD.match(word)
            and word.islower()
            and counts[word]
            and senses[word, part, at] <= FIRST_SENSES
        }
        if len(group) > 1:
            groups.add(" ".join(sorted(group)))
    return sorted(groups)


def _related(
    synsets: dict[tuple[str, str], Synset], symbol: str, counts: Counter[str], *, tagged: bool
) -> list[str]:
    pairs = set()
    for synset in synsets.values():
        for kind, target, here, there in synset.pointers:
            if kind != symbol or not here:
                continue
            one, other = synset.words[here - 1].lower(), synsets[target].words[there - 1].lower()
            if one == other or not _WORD.match(one) or not _WORD.match(other):
                continue
            if not tagged or (counts[one] and counts[other]):
                pairs.add(" ".join(sorted((one, other))))
    return sorted(pairs)


def _irregular(folder: Path, common: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in ("verb", "noun", "adj"):
        for line in (folder / f"{part}.exc").read_text().splitlines():
            form, base = line.split()[:2]
            if _WORD.match(form) and base in common and form not in found:
                found[form] = base
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
