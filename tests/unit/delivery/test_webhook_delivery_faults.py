"""Webhooks against a real receiver that fails in every way: nothing is lost, nobody else waits, order is kept."""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.adapters.webhook_sender import SecretFile, WebhookSender
from services.ports import SettingsInvalid
from services.use_cases.webhook_signature import SignatureInvalid, read_secret, signed_headers, verify
from services.workers.deliver import MOST_OPEN, Deliverer, DeliveryTools
from services.workers.deliver_cancellations import Cancellations
from services.workers.deliver_terms import RetryTerms, Subscription

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
QUICK = RetryTerms(tries=4, first_pause_s=0.01, longest_pause_s=0.02)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return path


@pytest.fixture
def deliver(log: Any, clock: Any, metrics: Any, set_aside: Any, secret_file: Path) -> Callable[..., Any]:
    """Runs a deliverer to the receiver while the context lasts."""

    @asynccontextmanager
    async def delivering(
        receiver: Any, *, name: str = "crm", retries: RetryTerms = QUICK, timeout_s: float = 5.0, **terms: Any
    ) -> AsyncIterator[Deliverer]:
        subscription = Subscription(name=name, channels=frozenset({"manager"}), retries=retries, **terms)
        cancelled, stop = Cancellations(), asyncio.Event()
        async with (
            cancelled.following(log.reader()),
            WebhookSender.open(receiver.url, SecretFile(secret_file), timeout_s=timeout_s, connections=8) as sender,
        ):
            await asyncio.wait_for(cancelled.ready.wait(), 10)
            tools = DeliveryTools(
                sender=sender, cancelled=cancelled, set_aside=set_aside, clock=clock, metrics=metrics,
                jitter=lambda: 1.0,
            )  # fmt: skip
            deliverer = Deliverer(log.reader(), subscription, tools)
            running = asyncio.create_task(deliverer.run(stop))
            try:
                yield deliverer
            finally:
                stop.set()
                await asyncio.wait_for(running, 10)

    return delivering


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def counted(metrics: Any, outcome: str, name: str = "crm") -> float:
    return float(metrics.seen.get(("webhooks_total", name, outcome), 0))


def is_done(log: Any) -> bool:
    return all(log.committed.get((r.topic, r.partition), 0) > r.offset for r in log.records)


async def test_a_message_arrives_signed_as_it_was_published(log: Any, open_receiver: Any, deliver: Any) -> None:
    receiver = await open_receiver()
    identity = log.offer()
    async with deliver(receiver):
        await until(lambda: is_done(log))
    (request,) = receiver.requests
    assert (request.id, request.body) == (identity, log.records[0].value)
    verify([read_secret(SECRET)], request.headers, request.body, int(time.time()))
    with pytest.raises(SignatureInvalid):
        verify([read_secret(OTHER)], request.headers, request.body, int(time.time()))
    with pytest.raises(SignatureInvalid):
        verify([read_secret(SECRET)], request.headers, request.body + b" ", int(time.time()))
    with pytest.raises(SignatureInvalid, match="far"):
        verify([read_secret(SECRET)], request.headers, request.body, int(time.time()) + 301)


@pytest.mark.parametrize("fault", [500, 429, 404, "drop", "hang", (302, {"location": "/elsewhere"}, b"")])
async def test_whatever_goes_wrong_is_tried_again_and_the_order_of_a_customer_is_kept(
    log: Any, metrics: Any, open_receiver: Any, deliver: Any, fault: Any
) -> None:
    failures = iter([fault, fault])
    receiver = await open_receiver(lambda request: next(failures, 200) if request.id == "first" else 200)
    log.offer(name="first")
    log.offer(name="second")
    async with deliver(receiver, timeout_s=0.1 if fault == "hang" else 5.0):
        await until(lambda: is_done(log))
    assert receiver.ids == ["first", "first", "first", "second"]
    assert counted(metrics, "delivered") == 2


async def test_a_customer_whose_message_fails_keeps_no_other_waiting(
    log: Any, set_aside: Any, open_receiver: Any, deliver: Any
) -> None:
    stuck = asyncio.Event()

    async def answer(request: Any) -> int:
        if request.id == "stuck":
            await stuck.wait()
        return 200

    receiver = await open_receiver(answer)
    log.offer("retail:1", name="stuck", partition=0)
    others = [log.offer(f"retail:{number}", partition=0) for number in range(2, 30)]
    async with deliver(receiver):
        await until(lambda: set(others) <= set(receiver.ids))
        assert log.committed == {}, "nothing behind an open message may be committed"
        stuck.set()
        await until(lambda: is_done(log))


async def test_a_slow_receiver_keeps_no_other_receiver_waiting(
    log: Any, metrics: Any, open_receiver: Any, deliver: Any
) -> None:
    slow, quick = await open_receiver(lambda _: "hang"), await open_receiver()
    sent = [log.offer(f"retail:{number}") for number in range(MOST_OPEN + 20)]
    never = RetryTerms(tries=100, first_pause_s=60.0)
    async with deliver(slow, name="slow", timeout_s=0.05, retries=never), deliver(quick, name="quick"):
        await until(lambda: counted(metrics, "delivered", "quick") == len(sent))
    assert sorted(quick.ids) == sorted(sent)


async def test_after_so_many_tries_a_message_is_set_aside_and_the_next_has_its_turn(
    log: Any, metrics: Any, set_aside: Any, open_receiver: Any, deliver: Any
) -> None:
    set_aside.away = 0
    receiver = await open_receiver(lambda request: 503 if request.id == "bad" else 200)
    log.offer(name="bad")
    log.offer(name="good")
    async with deliver(receiver):
        await until(lambda: is_done(log))
    assert receiver.ids == ["bad"] * 4 + ["good"]
    assert set_aside == [("undeliverable", "crm: status_503 after 4 tries")]
    assert counted(metrics, "dead_lettered") == 1


async def test_a_receiver_that_says_gone_is_not_tried_again(
    log: Any, set_aside: Any, open_receiver: Any, deliver: Any
) -> None:
    receiver = await open_receiver(lambda _: 410)
    log.offer()
    async with deliver(receiver):
        await until(lambda: is_done(log))
    assert len(receiver.requests) == 1 and set_aside == [("undeliverable", "crm: status_410 after 1 tries")]


async def test_a_pause_the_receiver_asks_for_is_kept_for_all_its_messages(
    log: Any, open_receiver: Any, deliver: Any
) -> None:
    loop = asyncio.get_running_loop()
    arrivals: list[float] = []

    def answer(request: Any) -> Any:
        arrivals.append(loop.time())
        return (429, {"retry-after": "1"}, b"") if len(arrivals) == 1 else 200

    receiver = await open_receiver(answer)
    log.offer("retail:1", name="asked")
    async with deliver(receiver):
        await receiver.until(1)
        log.offer("retail:2", name="other")
        await until(lambda: is_done(log))
    assert arrivals[1] - arrivals[0] >= 0.95
    assert sorted(receiver.ids) == ["asked", "asked", "other"]


async def test_what_is_overtaken_or_too_late_is_not_sent_and_counted(
    log: Any, clock: Any, metrics: Any, open_receiver: Any, deliver: Any
) -> None:
    receiver = await open_receiver()
    log.offer(name="late", expires_at="2026-11-21T09:49:00.000Z")
    overtaken = log.offer(name="overtaken")
    for number in range(600):  # the notice stands far behind, beyond what is in hand at once
        log.offer(f"retail:{number + 10}", channel="sms")
    log.cancel(overtaken)
    log.offer(name="valid")
    async with deliver(receiver):
        await until(lambda: is_done(log))
    assert receiver.ids == ["valid"]
    assert (counted(metrics, "expired"), counted(metrics, "cancelled"), counted(metrics, "delivered")) == (1, 2, 1)


async def test_a_notice_about_what_was_delivered_follows_it(log: Any, open_receiver: Any, deliver: Any) -> None:
    receiver = await open_receiver()
    async with deliver(receiver):
        identity = log.offer()
        await receiver.until(1)
        notice = log.cancel(identity, channel=None)  # as when its trigger is gone
        await until(lambda: is_done(log))
    assert receiver.ids == [identity, notice]


async def test_only_the_channels_and_recipients_asked_for_are_sent(log: Any, open_receiver: Any, deliver: Any) -> None:
    receiver = await open_receiver()
    log.offer(name="mine", recipient="m42")
    log.offer(name="another's", recipient="m43")
    log.offer(name="anyone's")
    log.offer(name="text", channel="sms")
    async with deliver(receiver, recipients=frozenset({"m42"})):
        await until(lambda: is_done(log))
    assert receiver.ids == ["mine", "anyone's"]


async def test_a_record_that_is_no_message_is_set_aside_and_repeats_are_not_sent(
    log: Any, metrics: Any, set_aside: Any, open_receiver: Any, deliver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.workers.deliver._BUS_RETRY_SECONDS", 0.01)
    receiver = await open_receiver()
    set_aside.away = 1
    log.put(b"{broken", 1)
    log.offer(name="once")
    log.offer(name="once")
    async with deliver(receiver):
        await until(lambda: is_done(log))
    assert receiver.ids == ["once"]
    assert [reason for reason, _ in set_aside] == ["unreadable"]
    assert counted(metrics, "repeated") == 1


async def test_redirects_are_not_followed_and_long_answers_are_not_read(
    log: Any, open_receiver: Any, deliver: Any
) -> None:
    elsewhere = await open_receiver()
    answers = iter([(307, {"location": elsewhere.url}, b""), (200, {}, b"x" * 4_000_000)])
    receiver = await open_receiver(lambda _: next(answers))
    log.offer()
    async with deliver(receiver):
        await until(lambda: is_done(log))
    assert len(receiver.requests) == 2 and elsewhere.requests == []


async def test_a_rebalance_leaves_what_is_not_done_to_the_next_owner(
    log: Any, open_receiver: Any, deliver: Any
) -> None:
    release = asyncio.Event()

    async def answer(request: Any) -> int:
        if request.id == "open":
            await release.wait()
        return 200

    receiver = await open_receiver(answer)
    log.offer("retail:1", name="open", partition=1)
    log.offer("retail:1", name="behind", partition=1)
    log.offer("retail:2", name="done", partition=0)
    async with deliver(receiver) as deliverer:
        await receiver.until(2)
        await until(lambda: log.committed.get((log.records[2].topic, 0)) == 1)
        await deliverer.revoked({(log.records[0].topic, 1)})
        release.set()
        await asyncio.sleep(0)
    assert (log.records[0].topic, 1) not in log.committed
    assert "behind" not in receiver.ids


async def test_keys_are_changed_without_a_restart(
    log: Any, open_receiver: Any, deliver: Any, secret_file: Path
) -> None:
    receiver = await open_receiver()
    async with deliver(receiver):
        log.offer()
        await receiver.until(1)
        secret_file.write_text(f"{OTHER}\n{SECRET}\n")
        log.offer()
        await receiver.until(2)
    now = int(time.time())
    for secret in (SECRET, OTHER):
        verify([read_secret(secret)], receiver.requests[1].headers, receiver.requests[1].body, now)
    verify([read_secret(SECRET)], receiver.requests[0].headers, receiver.requests[0].body, now)


def test_the_signature_is_that_of_the_specification() -> None:
    """The worked example of Standard Webhooks, and the formula computed by hand."""
    key = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    headers = signed_headers([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    signed = b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330." + body
    by_hand = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{by_hand}"


@pytest.mark.parametrize("content", ["", "whsec_short", "whsec_!!!", f"{SECRET}\n{OTHER}\n{SECRET}\n"])
def test_a_faulty_secret_file_stops_the_start_without_showing_what_it_holds(tmp_path: Path, content: str) -> None:
    path = tmp_path / "secret"
    path.write_text(content)
    with pytest.raises(SettingsInvalid) as caught:
        SecretFile(path)
    assert str(path) in str(caught.value)
    assert "whsec_short" not in str(caught.value) and SECRET not in str(caught.value)
