"""The lexical guard: pairs that must not share an answer, and ways to ask the same.

Covered: every rule by sentences of our own (not of the benchmarks' pairs), that each kind of edit
that matters blocks whatever the words around it, that a verdict doesn't depend on which text comes
first, that what it can't read is only served when equal, and that odd input never breaks it. Not
covered: how often it is right (benchmarks.cache_safety).
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.semantic_cache import guard
from fairstow.semantic_cache.guard import judge
from fairstow.semantic_cache.guard.language import Language
from fairstow.semantic_cache.guard.reading import Reading, read

DIFFERENT = [
    ("number", "How do I roast 3 chickens?", "How do I roast 4 chickens?"),
    ("number", "Is a speed of 50 km legal?", "Is a speed of 50 miles legal?"),
    ("number", "Wake me at 6am", "Wake me at 6pm"),
    ("number", "What does it cost after two years?", "What does it cost after three years?"),
    ("number", "Where is invoice 1234?", "Where is invoice 1243?"),
    ("negation", "Which files are in the backup?", "Which files are not in the backup?"),
    ("negation", "Can I travel with a passport?", "Can I travel without a passport?"),
    ("negation", "How do I keep smoking?", "How do I stop smoking?"),
    ("antonym", "Is the water deep here?", "Is the water shallow here?"),
    ("antonym", "How do I mute the tab?", "How do I unmute the tab?"),
    ("axis month", "What did I spend in March?", "What did I spend in April?"),
    ("axis amount", "How do I increase the volume?", "How do I decrease the volume?"),
    ("axis system", "How do I install it on Windows?", "How do I install it on Linux?"),
    ("form", "When do I get my card?", "Where do I get my card?"),
    ("scope", "Which of the files are large?", "Which of all the files are large?"),
    ("name", "Who owns Ferrari?", "Who owns Lamborghini?"),
    ("name", "How far is it to Lisbon?", "How far is it to Madrid?"),
    ("role", "Do I fly from the island to the coast?", "Do I fly from the coast to the island?"),
    ("order", "Did Spain beat Italy?", "Did Italy beat Spain?"),
    ("order", "Can a lion eat a tiger?", "Can a tiger eat a lion?"),
    ("symbols", "What does == do in C?", "What does != do in C?"),
    ("symbols", "What does `as` do in SQL?", "What does `at` do in SQL?"),
    ("role", "Do I owe Maria money?", "Does Maria owe me money?"),
    ("role", "Can I swim during a thunderstorm?", "Can I swim after a thunderstorm?"),
    ("role", "Is on-site training free?", "Is off-site training free?"),
    ("order", "Do I get a cold from the rain?", "Do I get rain with a cold?"),
    ("axis daytime", "In the morning, is the pool open?", "In the evening, is the pool open?"),
    ("role", "Is parking free for 2 hours?", "Is parking free after 2 hours?"),
    ("axis hours", "What do full-time nurses earn?", "What do part-time nurses earn?"),
    ("axis work-status", "Do employed cooks pay it?", "Do self-employed cooks pay it?"),
    ("scope", "Who is the best footballer of all time?", "Who is the best footballer right now?"),
    ("tense", "How tall was the tower?", "How tall is the tower?"),
    ("tense", "What was the population of India?", "What is the population of India?"),
    ("tense", "What was my balance?", "What is my balance?"),
    ("tense", "Who won the election?", "Who will win the election?"),
    ("form", "What day is it today?", "What year is it today?"),
    ("axis remedy", "Can diabetes be cured?", "Can diabetes be treated?"),
    ("axis obligation", "Must I answer the police?", "Should I answer the police?"),
    ("axis obligation", "Do I have to wear a helmet?", "Can I wear a helmet?"),
    ("scope", "Can I live on just water?", "Can I live on water?"),
    ("order", "Who killed Caesar?", "Who did Caesar kill?"),
    ("order", "What do snakes kill?", "What kills snakes?"),
    ("order", "Who does Messi play for?", "Who plays for Messi?"),
    ("role", "Who called me?", "Who did I call?"),
    ("role", "How do I contact my lawyer?", "How does my lawyer contact me?"),
    ("role", "How do I lend my brother money?", "How does my brother lend me money?"),
    ("order", "Does my boss read my email?", "Do I read my boss's email?"),
    ("role", "Can I see his messages?", "Can he see my messages?"),
    ("role", "Where is my car?", "Where is his car?"),
    ("axis pronoun", "What is his name?", "What is her name?"),
    ("order", "What is milk chocolate?", "What is chocolate milk?"),
    ("order", "Can a man marry his widow's sister?", "Can a man marry his sister's widow?"),
    ("order", "How do I eat and then swim?", "How do I swim and then eat?"),
    ("role", "Should I buy or rent?", "Should I buy and rent?"),
    ("order", "What is 2 to the power of 3?", "What is 3 to the power of 2?"),
    ("order", "Is 5 more than 3?", "Is 3 more than 5?"),
    ("number", "Is order 1234567890 late?", "Is order 1234567891 late?"),
    ("number", "Is account 12345678901234567 open?", "Is account 12345678901234568 open?"),
    ("number", "What is at 10.0.0.1?", "What is at 10.0.0.10?"),
    ("number", "What is new in Python 3.1?", "What is new in Python 3.10?"),
    ("number", "How do I dial 0049?", "How do I dial 49?"),
    ("scope", "How hot is -5?", "How hot is 5?"),
    ("role", "Is ibuprofen safe with paracetamol?", "Is ibuprofen safe after paracetamol?"),
    ("role", "Is aspirin for headaches?", "Is aspirin from headaches?"),
    ("role", "How do I get out of debt?", "How do I get into debt?"),
    ("role", "How do I run into a friend?", "How do I run over a friend?"),
    ("role", "Can I have it for a week?", "Can I have it in a week?"),
    ("voice", "Did Apple sue Samsung?", "Was Apple sued by Samsung?"),
    ("voice", "Who did Caesar kill?", "Who was Caesar killed by?"),
    ("voice", "When do I pay?", "When do I get paid?"),
    ("voice", "Why am I charging?", "Why am I charged?"),
    ("voice", "Can I fire my boss?", "Can I be fired by my boss?"),
    ("voice", "Do wolves eat foxes?", "Are wolves eaten by foxes?"),
    ("voice", "How do infants feed?", "How are infants fed?"),
    ("voice", "Who killed Brutus?", "Who was killed by Brutus?"),
    ("axis manner", "What is the fastest way to Rome?", "What is the easiest way to Rome?"),
    ("axis permission", "Am I allowed to lift it?", "Am I able to lift it?"),
    ("role", "Where is my office?", "Where is your office?"),
    ("order", "How do moves from tea to milk differ?", "How do moves from milk to tea differ?"),
    ("order", "How different was Ann when she hit Bob?", "How different was Bob when she hit Ann?"),
    ("form", "Is there a lift?", "How many lifts are there?"),
    ("form", "What is a sidecar?", "What does a sidecar do?"),
    ("form", "What is a webhook?", "What can I do with a webhook?"),
    ("number", "What ink does the M404n need?", "What ink does the M404x need?"),
]  # fmt: skip

SAME = [
    ("How do I renew my passport?", "how do i renew my passport"),
    ("How do I make a complaint?", "How do I file a complaint?"),
    ("How do I make an appointment?", "How do I book an appointment?"),
    ("Who was Caesar killed by?", "By whom was Caesar killed?"),
    ("Is 1500 enough for 2 people?", "Is 1500 enough for two people?"),
    ("How old was the oldest cat?", "What was the age of the oldest cat?"),
    ("How do I permanently delete my account?", "How do I delete my account permanently?"),
    ("What do I do if my flight is late?", "If my flight is late, what do I do?"),
    ("How do I renew my passport?", "Hi there, could you tell me how to renew my passport please?"),
    ("How do I renew my passport?", "What is the best way to renew my passport?"),
    ("What time does the museum open?", "When does the museum open?"),
    ("How much is a dozen eggs?", "What's the price of 12 eggs?"),
    ("How do I delete a photo on my phone?", "On my phone, how do I delete a photo?"),
    ("Can I buy a ticket online?", "Is it possible to purchase a ticket online?"),
    ("How do I recover a deleted file?", "How do I recover a deletd file?"),
    ("Is a visa needed for a stay of 2 weeks?", "Is a visa required for a two-week stay?"),
    ("How do I log in to the portal?", "How do I sign in to the portal?"),
    ("On Boxing Day, is the pool open?", "Is the pool open on Boxing Day?"),
    ("How do I get rid of moths?", "What's the best way to get rid of moths?"),
    ("When should I prune roses?", "What is the best time to prune roses?"),
    ("Delete every tag", "Delete all tags"),
    ("How do I read the logs of a failed job?", "How can I read logs of a job that failed?"),
    ("How old is the bridge?", "What is the age of the bridge?"),
    ("How tall is the Eiffel Tower?", "What is the height of the Eiffel Tower?"),
    ("How do I rename a folder?", "How can I change the name of a folder?"),
    ("Which is larger, Texas or France?", "Which is larger, France or Texas?"),
    ("What can I use instead of cream?", "What is a good substitute for cream?"),
    ("How do I keep cats from scratching?", "How do I stop cats from scratching?"),
    ("Can a 16-year-old vote in Austria?", "Can somebody vote in Austria at 16?"),
    ("How do I organise my favourites?", "How do I organize my favorites?"),
    ("cheapest train tickets paris", "What are the cheapest train tickets to Paris?"),
    ("How long does the cheese keep?", "How many days does the cheese keep?"),
    ("I want to rename a branch. How do I do that?", "How do I rename a branch?"),
    ("How much do I have to sleep a day?", "How much do I have to sleep each day?"),
    ("Who was Caesar killed by?", "Who killed Caesar?"),
    ("Does the library charge a fee?", "Is a fee charged by the library?"),
    ("When does the shop open?", "When is the shop opened?"),
    ("Did Apple sue Samsung?", "Was Samsung sued by Apple?"),
    ("Why do they ban the hidden fees?", "Why are the hidden fees banned?"),
    ("How do I keep your app tidy?", "How do I keep my app tidy?"),
    ("Which coffee and/or tea is served?", "Which coffee and or tea is served?"),
    ("How does salt & pepper taste?", "How does salt and pepper taste?"),
    ("How does rye differ from barley?", "How does barley differ from rye?"),
    (
        "What is the difference between green tea and black coffee?",
        "What is the difference between black coffee and green tea?",
    ),
    ("How do I cope with noise?", "How do I deal with noise?"),
]


@pytest.mark.parametrize(("rule", "a", "b"), DIFFERENT)
def test_a_difference_that_matters_is_an_objection(rule: str, a: str, b: str) -> None:
    for one, other in ((a, b), (b, a)):
        rules = [each.rule for each in judge(one, other, all_objections=True).objections]
        assert rule in rules


@pytest.mark.parametrize(("a", "b"), SAME)
def test_another_way_to_ask_leaves_no_word_over(a: str, b: str) -> None:
    for one, other in ((a, b), (b, a)):
        judgement = judge(one, other, all_objections=True)
        assert judgement.objections == ()
        if judgement.alignment is not None:
            assert not judgement.alignment.left_a
            assert not judgement.alignment.left_b


def test_a_text_in_no_known_language_is_only_served_for_itself() -> None:
    text = "Wie lange dauert es, einen neuen Reisepass zu bekommen?"
    assert judge(text, text.upper() + "?").objections == ()
    (objection,) = judge(text, "Wie lange braucht man für einen neuen Reisepass?").objections
    assert objection.rule == "language"


def test_a_text_that_is_too_long_is_only_served_for_itself() -> None:
    long = "How do I renew my passport? " * 100
    assert judge(long, long).objections == ()
    assert judge(long, long + "Quickly.").objections


WORDS = st.sampled_from(
    [
        "how",
        "do",
        "I",
        "cancel",
        "my",
        "order",
        "from",
        "Leeds",
        "to",
        "York",
        "not",
        "before",
        "3",
        "pm",
        "£50",
        "the",
        "a",
        "-=",
        "(",
        "isn't",
        "🦊",
    ]
)
TEXTS = st.lists(WORDS, max_size=12).map(" ".join) | st.text(max_size=60)


VERBS = st.sampled_from(["send", "move", "copy", "forward", "return", "carry", "mail"])
THINGS = st.sampled_from(["letters", "boxes", "savings", "old books", "holiday photos", "records"])
PLACES = st.lists(
    st.sampled_from(["Leeds", "York", "Porto", "Quito", "Osaka", "Dakar"]),
    min_size=3, max_size=3, unique=True,
)  # fmt: skip
COUNTS = st.lists(st.integers(2, 5_000), min_size=2, max_size=2, unique=True)
UNITS = st.permutations(["days", "weeks", "months", "hours"])
OPENINGS = st.sampled_from(
    ["How do I", "How can I", "Please tell me how to", "What is the best way to", "hi, how do i",
     "Is there a way to", "What do I need to do to"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(VERBS, THINGS, PLACES, COUNTS, UNITS, OPENINGS)
def test_one_edit_that_matters_always_blocks(
    verb: str, thing: str, places: list[str], counts: list[int], units: list[str], opening: str
) -> None:
    here, there, elsewhere = places
    tail = f"within {counts[0]} {units[0]}?"
    asked = f"How do I {verb} my {thing} from {here} to {there} {tail}"
    edits = {
        "number": f"{verb} my {thing} from {here} to {there} within {counts[1]} {units[0]}?",
        "unit": f"{verb} my {thing} from {here} to {there} within {counts[0]} {units[1]}?",
        "negation": f"not {verb} my {thing} from {here} to {there} {tail}",
        "roles": f"{verb} my {thing} from {there} to {here} {tail}",
        "entity": f"{verb} my {thing} from {here} to {elsewhere} {tail}",
        "one more": f"{verb} my {thing} from {here} to {there} and {elsewhere} {tail}",
        "scope": f"{verb} all my {thing} from {here} to {there} {tail}",
        "exception": f"{verb} my {thing} from {here} to {there} except {elsewhere} {tail}",
        "bound": f"{verb} my {thing} from {here} to {there} after {counts[0]} {units[0]}?",
    }
    for what, rest in edits.items():
        for a, b in ((asked, f"{opening} {rest}"), (f"{opening} {rest}", asked)):
            assert judge(a, b).objections, what
    same = f"{opening} {verb} my {thing} from {here} to {there} {tail}"
    assert judge(asked, same).objections == ()


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_any_texts_get_a_verdict_and_equal_ones_no_objection(a: str, b: str) -> None:
    assert judge(a, a).objections == ()
    assert bool(judge(a, b).objections) == bool(judge(b, a).objections)


def test_what_one_has_asked_spares_nobody_else_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    def counted(text: str, language: Language) -> Reading | None:
        texts.append(text)
        return read(text, language)

    monkeypatch.setattr(guard, "read", counted)
    pair = ("How do I water a cactus in June?", "how do I water a cactus in June, please")
    for namespace, reads in (("a", 2), ("b", 4), ("a", 4), ("b", 4)):
        judge(*pair, namespace=namespace)
        assert len(texts) == reads


@pytest.mark.parametrize("other", ["please", "Is it on?", "When was it?", "What is it to you?"])
def test_where_no_word_says_what_is_asked_only_the_same_is_the_same(other: str) -> None:
    for a, b in (("What does it do?", other), (other, "What does it do?")):
        assert judge(a, b).objections
    assert judge("What does it do?", "Please, what does it do?").objections == ()
