"""Tables and wrapped sentences, by property: nothing is lost, nothing is cut."""

from hypothesis import given
from hypothesis import strategies as st

from fairstow.cli.layout import listed, table, wrapped

WORDS = st.text("abc-/.", min_size=1, max_size=30)
ROWS = st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=5)
HEADERS = ("NAME", "LONG HEADER", "LAST")


@given(ROWS, st.none() | st.integers(10, 120))
def test_a_table_keeps_every_cell_whole(rows: list[tuple[str, ...]], width: int | None) -> None:
    lines = "\n".join(table(HEADERS, rows, width, "lrl")).split("\n")
    assert all(any(cell in line for line in lines) for row in rows for cell in row)


@given(ROWS)
def test_columns_are_aligned(rows: list[tuple[str, ...]]) -> None:
    head, *lines = table(HEADERS, rows, None)
    at = head.index("LONG HEADER")
    assert all(line[at - 2 : at] == "  " and line[at] != " " for line in lines)


@given(st.lists(WORDS, min_size=1), st.integers(20, 80))
def test_wrapping_breaks_between_words_only(words: list[str], width: int) -> None:
    text = wrapped(" ".join(words), width, "  - ", "    ")
    assert text.replace("\n", " ").split() == ["-", *words]
    assert all(len(line) <= width or len(line.split()) <= 2 for line in text.split("\n"))


def test_a_list_says_how_much_it_leaves_out() -> None:
    assert listed(["a", "b", "c"], 2, "-o wide") == ["a", "b", "  ... and 1 more (-o wide)"]
    assert listed(["a", "b"], 2, "") == ["a", "b"]
