"""The example client asks less of a service that refuses it, retries within its budget, and is back when it is well."""

import random

from loadtests.polite_client import PoliteClient


def run(client: PoliteClient, seconds: range, accepted: bool, rate: int = 50) -> tuple[int, int]:
    """How many of a minute's requests were sent, and how many retries there were."""
    draw, sent, retries = random.Random(1), 0, 0
    for second in seconds:
        for _ in range(rate):
            if not client.may_send(second, draw.random()):
                continue
            sent += 1
            if accepted:
                client.answered(second)
            else:
                retries += client.retry_in_s(second, 1, 1.0, draw.random()) is not None
    return sent, retries


def test_a_service_that_answers_is_asked_everything() -> None:
    assert run(PoliteClient(), range(60), accepted=True) == (3_000, 0)


def test_a_service_that_refuses_everything_is_asked_less_and_less() -> None:
    client = PoliteClient()
    run(client, range(120), accepted=True)
    early, retries = run(client, range(120, 180), accepted=False)
    late, more = run(client, range(240, 300), accepted=False)
    assert late < early
    assert 200 <= late <= 400, "one in ten finds out"
    assert max(retries, more) <= 0.1 * 6_100


def test_it_asks_everything_again_when_it_is_answered() -> None:
    client = PoliteClient()
    run(client, range(300), accepted=False)
    run(client, range(300, 540), accepted=True)
    assert run(client, range(540, 600), accepted=True)[0] == 3_000


def test_pauses_are_those_asked_for_and_a_little_more_and_there_are_not_many() -> None:
    client = PoliteClient()
    pauses = [client.retry_in_s(0.0, 1, 2.0, chance) for chance in (0.0, 1.0)]
    assert pauses == [2.0, 3.0]
    assert client.retry_in_s(0.0, 3, 2.0, 0.5) is None, "the third refusal is the last"
    client.retry_in_s(0.0, 1, 2.0, 0.5)
    assert client.retry_in_s(0.0, 1, 2.0, 0.5) is None, "the budget is spent"
    assert client.retry_in_s(121.0, 1, 2.0, 0.5) is not None, "two minutes later it is not"
