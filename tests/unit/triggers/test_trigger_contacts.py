"""What becomes of a trigger that fired: pending until concluded, followed up in waves, ended when overtaken."""

from types import SimpleNamespace

from decision_engine.triggers.definitions import EventPattern
from decision_engine.triggers.matching import pending, planned_ms
from decision_engine.triggers.memory import MOST_CONTACTS

CONSENT = "bank.consent.changed"
RESPONSE = "nbo.response.recorded"


def test_what_fired_is_pending_until_it_is_concluded(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.trigger())
    (firing,) = customer.happens(triggers.POSTED, key=17).fired
    assert (firing.trigger, firing.wave, firing.cause) == ("inflow", 0, "0000000000000011")
    assert firing.expires_at_ms == firing.at_ms + triggers.DAY
    assert customer.last.due_ms == 0
    (waiting,) = pending(customer.triggers, customer.memory)
    assert (waiting.firing, waiting.intent) == (firing, None)
    customer.noted(firing.id, b"from 17")
    assert pending(customer.triggers, customer.memory)[0].intent == b"from 17"
    assert customer.delivered(firing.id).due_ms is None
    assert pending(customer.triggers, customer.memory) == ()


def test_the_same_cause_has_the_same_id_and_another_customer_another(triggers: SimpleNamespace) -> None:
    (one,) = triggers.customer(triggers.trigger()).happens(triggers.POSTED, key=17).fired
    (same,) = triggers.customer(triggers.trigger()).happens(triggers.POSTED, key=17).fired
    (other,) = triggers.customer(triggers.trigger()).happens(triggers.POSTED, key=18).fired
    assert one.id == same.id != other.id
    assert len(one.id) == 32


def test_an_intent_for_what_is_not_pending_is_passed_over(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.trigger())
    customer.happens(triggers.POSTED)
    advanced = customer.noted("0" * 32)
    assert not advanced.changed
    assert pending(customer.triggers, customer.memory)[0].intent is None


def test_a_wave_follows_when_its_time_has_come(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(
        triggers.trigger(waves=(triggers.wave(2 * triggers.DAY), triggers.wave(4 * triggers.DAY)))
    )
    (first,) = customer.happens(triggers.POSTED).fired
    assert customer.delivered(first.id).due_ms == triggers.START + 2 * triggers.DAY
    assert customer.passes(2 * triggers.DAY - 1).fired == ()
    (second,) = customer.passes(1).fired
    assert (second.wave, second.at_ms, second.cause) == (1, first.at_ms + 2 * triggers.DAY, first.cause)
    assert second.id != first.id
    customer.delivered(second.id, None)
    (third,) = customer.passes(2 * triggers.DAY).fired
    assert third.wave == 2
    assert customer.delivered(third.id, None).due_ms is None


def test_a_wave_nobody_would_deliver_any_more_is_left_out(triggers: SimpleNamespace) -> None:
    waves = (triggers.wave(triggers.DAY), triggers.wave(5 * triggers.DAY))
    customer = triggers.customer(triggers.trigger(waves=waves, expires_ms=triggers.HOUR))
    customer.delivered(customer.happens(triggers.POSTED).fired[0].id)
    assert customer.passes(triggers.DAY + triggers.HOUR).fired == ()
    assert customer.last.due_ms == triggers.START + 5 * triggers.DAY


def test_an_answer_ends_the_waves_and_voids_what_is_out_but_an_impression_does_not(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.trigger(waves=(triggers.wave(2 * triggers.DAY),)))
    (firing,) = customer.happens(triggers.POSTED).fired
    customer.delivered(firing.id, "D1")
    assert not customer.happens(RESPONSE, decision_id="D1", outcome="impression").changed
    assert not customer.happens(RESPONSE, decision_id="D2", outcome="accept").changed
    advanced = customer.happens(RESPONSE, decision_id="D1", outcome="click")
    (overtaken,) = advanced.overtaken
    assert (overtaken.firing_id, overtaken.by) == (firing.id, "response")
    assert customer.passes(3 * triggers.DAY).fired == ()
    assert customer.memory is None


def test_an_answer_after_the_message_expired_still_ends_the_waves(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.trigger(waves=(triggers.wave(2 * triggers.DAY),), expires_ms=triggers.HOUR))
    customer.delivered(customer.happens(triggers.POSTED).fired[0].id, "D1")
    customer.passes(triggers.DAY)
    assert customer.happens(RESPONSE, decision_id="D1", outcome="reject").overtaken == ()
    assert customer.passes(2 * triggers.DAY).fired == ()


def test_what_cancels_ends_the_contact_of_its_own_form_alone(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.abandoned(waves=(triggers.wave(2 * triggers.DAY),)))
    customer.happens(triggers.OPENED, form_id="x")
    customer.happens(triggers.OPENED, form_id="y")
    fired = customer.passes(30 * triggers.MINUTE).fired
    for firing in fired:
        customer.delivered(firing.id, firing.cause)
    (overtaken,) = customer.happens(triggers.SUBMITTED, form_id="x").overtaken
    assert overtaken.firing_id == fired[0].id
    assert overtaken.by == triggers.SUBMITTED
    assert [firing.id for firing in customer.passes(2 * triggers.DAY).fired] != []
    assert len(customer.last.fired) == 1


def test_a_submit_that_arrives_after_the_reminder_but_came_before_it_overtakes_it(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.abandoned())
    customer.happens(triggers.OPENED, form_id="x")
    (firing,) = customer.passes(30 * triggers.MINUTE).fired
    customer.delivered(firing.id)
    late = customer.happens(triggers.SUBMITTED, at_ms=triggers.START + 29 * triggers.MINUTE, form_id="x")
    assert [each.firing_id for each in late.overtaken] == [firing.id]


def test_an_event_from_before_the_contact_cancels_nothing(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.trigger(cancelled_by=(EventPattern(source=triggers.SUBMITTED),)))
    customer.delivered(customer.happens(triggers.POSTED).fired[0].id)
    assert customer.happens(triggers.SUBMITTED, at_ms=triggers.START - 1).overtaken == ()
    assert len(customer.happens(triggers.SUBMITTED, at_ms=triggers.START).overtaken) == 1


def test_what_is_cancelled_before_it_is_published_is_just_dropped(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.trigger(cancelled_by=(EventPattern(source=triggers.SUBMITTED),)))
    (firing,) = customer.happens(triggers.POSTED).fired
    advanced = customer.happens(triggers.SUBMITTED)
    assert (advanced.overtaken, advanced.due_ms) == ((), None)
    assert not customer.delivered(firing.id).changed


def test_what_may_have_been_published_is_cancelled_with_its_id(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.trigger(cancelled_by=(EventPattern(source=triggers.SUBMITTED),)))
    (firing,) = customer.happens(triggers.POSTED).fired
    customer.noted(firing.id)
    assert [each.firing_id for each in customer.happens(triggers.SUBMITTED).overtaken] == [firing.id]


def test_nothing_to_offer_is_no_message_but_the_next_wave_comes(triggers: SimpleNamespace) -> None:
    stop = (EventPattern(source=triggers.SUBMITTED),)
    customer = triggers.customer(triggers.trigger(waves=(triggers.wave(triggers.DAY),), cancelled_by=stop))
    customer.delivered(customer.happens(triggers.POSTED).fired[0].id, None)
    assert customer.last.due_ms == triggers.START + triggers.DAY
    assert customer.happens(triggers.SUBMITTED).overtaken == ()
    assert customer.last.due_ms is None


def test_erasure_empties_the_memory_and_voids_what_is_out(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.trigger(cooldown_ms=triggers.DAY), triggers.abandoned())
    (firing,) = customer.happens(triggers.POSTED).fired
    customer.delivered(firing.id)
    customer.happens(triggers.OPENED, form_id="x")
    advanced = customer.happens("bank.customer.erased")
    assert [each.firing_id for each in advanced.overtaken] == [firing.id]
    assert (advanced.value, advanced.changed, advanced.due_ms) == (None, True, None)


def test_a_cause_that_comes_again_does_not_fire_again(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.trigger())
    customer.delivered(customer.happens(triggers.POSTED, key=5).fired[0].id, None)
    customer.passes(triggers.HOUR)
    assert customer.happens(triggers.POSTED, at_ms=triggers.START, key=5).fired == ()
    customer.passes(1)
    assert customer.memory is None
    assert customer.happens(triggers.POSTED, at_ms=triggers.START, key=5).fired == ()  # no longer fresh


def test_too_many_contacts_drop_the_oldest_and_say_so(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.trigger())
    for number in range(MOST_CONTACTS + 2):
        customer.happens(triggers.POSTED, at_ms=triggers.START - triggers.MINUTE + number)
        assert customer.last.dropped == (1 if number >= MOST_CONTACTS else 0)
    waiting = pending(customer.triggers, customer.memory)
    assert len(waiting) == MOST_CONTACTS
    assert waiting[0].firing.at_ms == triggers.START - triggers.MINUTE + 2


def test_what_is_planned_is_told_apart_from_what_is_pending(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.trigger(), triggers.abandoned())
    customer.happens(triggers.OPENED, form_id="x")
    customer.happens(triggers.POSTED)
    assert customer.last.due_ms == 0
    due_ms = planned_ms(customer.triggers, triggers.CUSTOMER, customer.memory)
    assert due_ms == triggers.START + 30 * triggers.MINUTE


def test_a_consent_withdrawn_voids_what_was_published_and_what_is_planned(triggers: SimpleNamespace) -> None:
    customer = triggers.customer(triggers.trigger(waves=(triggers.wave(triggers.DAY),)))
    (firing,) = customer.happens(triggers.POSTED).fired
    customer.delivered(firing.id)
    assert customer.happens(CONSENT, purpose="sms", granted=True).overtaken == ()
    assert customer.happens(CONSENT, purpose="data_sharing", granted=False).overtaken == ()
    (void,) = customer.happens(CONSENT, purpose="sms", granted=False).overtaken
    assert (void.firing_id, void.by) == (firing.id, CONSENT)
    assert customer.passes(2 * triggers.DAY).fired == ()
