"""Jobs from a CSV file: `submit_s,user,weight,core_s,tasks`, a job a line, in any order.

Called by `simulate spark`. Each job is one stage of equal tasks.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from math import isfinite

from fairstow.cluster.errors import InputError, printable
from fairstow.spark.workload import Work, even

COLUMNS = ("submit_s", "user", "weight", "core_s", "tasks")
MOST_JOBS = 20_000
MOST_TASKS = 2_000_000
_MOST = 1e12
"""Of any number: beyond it sums of seconds lose what short tasks take, or are infinite."""
_HINT = f"The first line names the columns: {','.join(COLUMNS)}"


def read(lines: Iterable[str], path: str) -> list[Work]:
    """Return the jobs of a file.

    Raises:
        InputError: it isn't such a file, or is too large to be simulated.
    """
    rows = csv.DictReader(lines)
    missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise InputError(path, f"has no column {', '.join(missing)}", _HINT)
    works: list[Work] = []
    weights: dict[str, float] = {}
    tasks = 0
    try:
        for row in rows:
            work = _job(row, f"{path}, line {rows.line_num}", len(works))
            if weights.setdefault(work.user, work.weight) != work.weight:
                raise InputError(
                    f"{path}, line {rows.line_num}",
                    f"user {printable(work.user)} has another weight than before",
                    "A user has one weight in all its lines.",
                )
            works.append(work)
            tasks += len(work.stages[0])
            if len(works) > MOST_JOBS or tasks > MOST_TASKS:
                raise InputError(
                    path,
                    f"has more than {MOST_JOBS:,} jobs or {MOST_TASKS:,} tasks",
                    "Take a part of it.",
                )
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num}", f"isn't CSV: {error}") from None
    if not works:
        raise InputError(path, "holds no job", _HINT)
    return works


def _job(row: Mapping[str, str | None], where: str, number: int) -> Work:
    submit, weight, core_s, tasks = (
        _number(row, name, where) for name in ("submit_s", "weight", "core_s", "tasks")
    )
    user = (row["user"] or "").strip()
    if not user:
        raise InputError(where, "names no user")
    if not user.isprintable():
        raise InputError(
            where,
            f"user {printable(user)!r} has characters that can't be shown, such as NUL or escapes",
            "Take them out of the name.",
        )
    for name, wrong in (
        ("submit_s", submit < 0),
        ("weight", weight <= 0),
        ("core_s", core_s <= 0),
        ("tasks", tasks < 1 or tasks > MOST_TASKS or tasks != int(tasks)),
    ):
        if wrong:
            raise InputError(
                where,
                f"{name} is {row[name]}",
                "submit_s is 0 or more; weight and core_s are over 0; tasks is a whole number, "
                f"1 to {MOST_TASKS:,}.",
            )
    return Work(f"job-{number + 1}", submit, user, (even(core_s, int(tasks)),), weight)


def _number(row: Mapping[str, str | None], name: str, where: str) -> float:
    text = row[name] or ""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise InputError(where, f"{name} is {printable(text)!r}, which isn't a number")
    if abs(number) > _MOST:
        raise InputError(where, f"{name} is {printable(text)}", "The most that it can be is 1e12.")
    return number
