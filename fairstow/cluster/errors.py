"""The one error a user's input can cause; programs print it and exit with code 2."""


class InputError(ValueError):
    """Input that can't be used: says what happened, where, and what to do.

    Attributes:
        where: the source and object, e.g. `dump.json: Pod team-a/web-0`.
        problem: what is wrong, naming the field.
        hint: what to do about it; may be empty.
    """

    def __init__(self, where: str, problem: str, hint: str = "") -> None:
        self.where = where
        self.problem = problem
        self.hint = hint
        super().__init__(f"{where}: {problem}" + (f"\n{hint}" if hint else ""))


def printable(text: str, longest: int = 260) -> str:
    """Return text from a dump so that it can't steer a terminal or flood it."""
    short = text if len(text) <= longest else text[:longest] + "…"
    if short.isprintable():
        return short
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in short)
