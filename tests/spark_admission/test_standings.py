"""What people are told fits what their objects hold, whatever a user asks for or is called."""

from __future__ import annotations

from fairstow.api import Reason
from fairstow.api.spark_queue import MOST_CORES
from fairstow.spark.line import Place
from fairstow.spark.standings import Expected, shares, waiting
from tests.spark_admission.test_accounts import app


def test_one_user_cannot_make_a_status_that_is_refused() -> None:
    ahead = tuple((str(number) * 400, number) for number in range(3))
    place = Place(id="a", reason=Reason.BEHIND_OTHERS, position=1, ahead=ahead)
    status = waiting(place, 10**15, Expected(high=float("inf")), 0.0)
    assert status.first_cores == MOST_CORES
    assert status.message is not None
    assert status.message.startswith("position 1")
    (share,) = shares([app("a", "u" * 300)], {}, {})
    assert share.name == "u" * 253
