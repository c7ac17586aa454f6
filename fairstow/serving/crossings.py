"""When decoding sequences take their next blocks, for any number of steps at once.

Called by `engine`. All that decode grow by a token a step, so a sequence takes a block every
`block` steps, always at the same remainder of the step's number: a ring of counters holds how many
do.
"""


class Crossings:
    """The ring."""

    def __init__(self, block: int) -> None:
        self._at = [0] * block
        self._all = 0

    def add(self, offset: int) -> None:
        """Count a sequence that is `step + offset` tokens long before a step."""
        self._at[(1 - offset) % len(self._at)] += 1
        self._all += 1

    def remove(self, offset: int) -> None:
        """Count it no more."""
        self._at[(1 - offset) % len(self._at)] -= 1
        self._all -= 1

    def at(self, step: int) -> int:
        """Return how many blocks a step takes."""
        return self._at[step % len(self._at)]

    def taken(self, first: int, steps: int) -> int:
        """Return how many blocks so many steps take, the first of them given."""
        size = len(self._at)
        rounds, rest = divmod(steps, size)
        taken = rounds * self._all
        if rest:
            at = first % size
            taken += sum(self._at[at : at + rest])
            if at + rest > size:
                taken += sum(self._at[: at + rest - size])
        return taken

    def steps_with(self, first: int, blocks: int) -> int:
        """Return for how many steps these blocks suffice, where anything decodes."""
        size = len(self._at)
        rounds, blocks = divmod(blocks, self._all)
        steps = rounds * size
        while (need := self._at[(first + steps) % size]) <= blocks:
            blocks -= need
            steps += 1
        return steps
