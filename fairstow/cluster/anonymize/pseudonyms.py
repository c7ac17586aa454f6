"""Consistent pseudonyms: one text, one pseudonym, wherever it stands.

So references hold, and selectors match what they matched. Names of one role keep their order,
since decisions break ties by it; numbers that selectors compare keep theirs. A random word in each
pseudonym, made anew each time and not kept, tells the names of two files apart, and pseudonyms
from names that are really in use.
"""

import re
import secrets
import string
from collections import defaultdict

from fairstow.cluster.anonymize import vocabulary
from fairstow.cluster.quantity import parse
from fairstow.cluster.selectors import integer
from fairstow.cluster.shapes import ANY_ADDRESS
from fairstow.cluster.times import seconds, written

ROLES = (
    "node", "ns", "pod", "owner", "budget", "class", "claim", "volume", "storage", "driver",
    "gang", "key", "uid", "name", "value",
)  # fmt: skip
"""What a text names. One that names several things gets the pseudonym of the first of these."""

(NODE, NAMESPACE, POD, OWNER, BUDGET, CLASS, CLAIM, VOLUME, STORAGE, DRIVER, GANG, KEY, UID, OTHER,
 VALUE) = ROLES  # fmt: skip

_HOSTNAME = "kubernetes.io/hostname"
_WORD = 4
_NEWEST = 946_684_800
"""2000-01-01T00:00:00Z."""


class Pseudonyms:
    """Texts and their pseudonyms: collects until `seal`, then answers.

    Args:
        word: in every pseudonym; random by default.
    """

    def __init__(self, word: str | None = None) -> None:
        letters = string.ascii_lowercase
        self._word = word or "".join(secrets.choice(letters) for _ in range(_WORD))
        self._found: dict[str, int] = {}
        self._composed: dict[str, tuple[str, str]] = {}
        self._numbers: defaultdict[str, set[str]] = defaultdict(set)
        self._compared: set[str] = set()
        self._newest: int | None = None
        self._texts: dict[str, str] | None = None
        self._ranks: dict[tuple[str, str], str] = {}
        self._others: dict[str, dict[str, int]] = {}

    def seal(self) -> None:
        """End collecting: from now on pseudonyms are given."""
        by_role: dict[int, list[str]] = {}
        for text, role in self._found.items():
            by_role.setdefault(role, []).append(text)
        self._texts = {}
        for role, texts in by_role.items():
            width = len(str(len(texts)))
            for number, text in enumerate(sorted(texts)):
                self._texts[text] = f"{ROLES[role]}-{self._word}-{number:0{width}}"
        for key in self._compared:
            self._rank(key)

    def _rank(self, key: str) -> None:
        """Give the numbers among a label's values others in the same order."""
        numbers = [(integer(text), text) for text in self._numbers[key]]
        values = sorted({value for value, _ in numbers if value is not None})
        alike: defaultdict[int, int] = defaultdict(int)
        for value, text in sorted((v, t) for v, t in numbers if v is not None):
            rank = values.index(value)
            self._ranks[key, text] = "0" * alike[rank] + str(rank)
            alike[rank] += 1

    def text(self, role: str, text: str) -> str:
        """Return what stands for a text that names something."""
        if not text:
            return text
        if self._texts is None:
            index = ROLES.index(role)
            self._found[text] = min(self._found.get(text, index), index)
            return text
        if text in self._composed:
            return "-".join(self.text(OTHER, part) for part in self._composed[text])
        return self._texts[text]

    def compose(self, text: str, first: str, second: str) -> None:
        """Say that a text is two others and a dash: a pod's ephemeral claim."""
        self._composed.setdefault(text, (first, second))

    def compare(self, key: str) -> None:
        """Say that a selector compares the values of a label as numbers."""
        self._compared.add(key)

    def key(self, key: str) -> str:
        """Return what stands for the key of a label, taint or annotation."""
        return key if key in vocabulary.KEYS else self.text(KEY, key)

    def value(self, key: str, value: str) -> str:
        """Return what stands for a label's value."""
        if self._texts is None and integer(value) is not None:
            self._numbers[key].add(value)
        if vocabulary.public_value(key, value):
            return value
        if (key, value) in self._ranks:
            return self._ranks[key, value]
        return self.text(NODE if key == _HOSTNAME else VALUE, value)

    def namespace(self, name: str) -> str:
        """Return what stands for a namespace."""
        return name if name in vocabulary.NAMESPACES else self.text(NAMESPACE, name)

    def driver(self, name: str) -> str:
        """Return what stands for a storage driver."""
        return name if vocabulary.public_driver(name) else self.text(DRIVER, name)

    def resource(self, name: str) -> str:
        """Return what stands for a resource; an extended one stays one, a GPU a vendor's GPU."""
        if vocabulary.public_resource(name):
            return name
        vendor = next((v for v in vocabulary.ACCELERATORS if name.startswith(v)), "example.com/")
        return vendor + self.text(OTHER, name)

    def kind(self, name: str) -> str:
        """Return what stands for the kind of an owner."""
        return name if name in vocabulary.OWNERS else self._other("Kind", name)

    def api_version(self, text: str) -> str:
        """Return what stands for an API group and version."""
        group, _, version = text.rpartition("/")
        known = group in vocabulary.GROUPS and re.fullmatch(r"v\d+((alpha|beta)\d+)?|", version)
        return text if known else f"{self._other('group', group)}.example.com/v1"

    def moment(self, text: str) -> str:
        """Return what stands for a time: as long before the newest one, which becomes `_NEWEST`."""
        when = seconds(text)
        if when is None:
            return ""
        self._newest = when if self._newest is None else max(self._newest, when)
        return written(_NEWEST - (self._newest - when))

    def address(self, text: str) -> str:
        """Return what stands for an address of a host; the one for all addresses is kept."""
        if text == ANY_ADDRESS:
            return text
        number = int(self._other("", text))
        return f"198.18.{number // 250 % 250}.{number % 250 + 1}"

    def _other(self, role: str, text: str) -> str:
        """Return a pseudonym by order of appearance."""
        alike = self._others.setdefault(role, {})
        return f"{role}{alike.setdefault(text, len(alike))}"


def is_quantity(resource: str, amount: object) -> bool:
    """Whether something is an amount of a resource and nothing else."""
    if isinstance(amount, bool) or not isinstance(amount, str | int | float):
        return False
    try:
        parse(resource, str(amount))
    except ValueError:
        return False
    return True
