"""Erasure on open connections, for the roles that take part in it."""

from dataclasses import replace
from functools import partial

from decision_engine.attribution_values import AttributionUnreadable
from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.fold import erased_state
from decision_engine.features.state import erased_until, is_erased, is_placeholder
from event_schemas.topics import ERASURES
from services.adapters.kafka_event_stream import KafkaEventStream
from services.adapters.redis_client import RedisClient
from services.adapters.redis_erasure_sweep import RedisErasureSweep
from services.adapters.redis_erasures import RedisErasures
from services.adapters.ulid_ids import UlidIds
from services.bus_wiring import bus_security
from services.ports import Clock, EventPublisher
from services.settings import Settings
from services.use_cases.erasure.erased_people import ErasedPeople, StoredForm
from services.use_cases.erasure.proofs import Erasure, Proofs, read_proofs
from services.use_cases.erasure.pseudonyms import Pseudonyms
from services.use_cases.erasure.request_erasure import ErasureNotSetUp, RequestErasure
from services.workers import attributor_values
from services.workers.erasure_sweeper import SETTLE_SECONDS, ErasureSweeper

ATTRIBUTION = "attribution"


def pseudonyms_of(settings: Settings) -> Pseudonyms | None:
    """The bank's, None without a key. Raises SettingsInvalid."""
    return Pseudonyms(settings.pseudonym_key.encode()) if settings.pseudonym_key else None


def needed_pseudonyms(settings: Settings) -> Pseudonyms:
    """The bank's. Raises ErasureNotSetUp, SettingsInvalid."""
    if (found := pseudonyms_of(settings)) is None:
        raise ErasureNotSetUp
    return found


def erasures_in_store(settings: Settings, client: RedisClient) -> RedisErasures:
    """Marks, queue and progress."""
    return RedisErasures(client, settings.namespace, kept_days=settings.erasure_memory_days)


async def proofs_on_the_bus(settings: Settings) -> dict[str, Erasure]:
    """Everything the bus tells of erasures, by pseudonym. Raises BusUnavailable."""
    async with KafkaEventStream(settings.kafka_bootstrap_servers, [ERASURES], security=bus_security(settings)) as log:
        return await read_proofs(log)


def erased_people(
    settings: Settings,
    client: RedisClient,
    features: CompiledFeatures,
    telling: tuple[EventPublisher, Clock] | None = None,
) -> ErasedPeople | None:
    """Who must not come back into these states; None without a key. Only with `telling` does the role begin erasures
    and see them through: one that builds states beside others leaves that to them."""
    form = StoredForm(placeholder=partial(erased_state, features), is_placeholder=is_placeholder, is_erased=is_erased)
    erased = _erased_in(form, settings, client)
    if erased is None or telling is None:
        return erased
    publisher, clock = telling
    proofs = Proofs(publisher=publisher, ids=UlidIds(), source="kairos/state-builder")
    return replace(erased, proofs=proofs, clock=clock)


def erased_in_attribution(settings: Settings, client: RedisClient) -> ErasedPeople | None:
    """The same for what attribution remembers."""
    form = StoredForm(
        placeholder=attributor_values.placeholder,
        is_placeholder=attributor_values.is_placeholder,
        is_erased=attributor_values.is_erased,
    )
    return _erased_in(form, settings, client)


def erasure_sweeper(
    settings: Settings,
    client: RedisClient,
    publisher: EventPublisher,
    clock: Clock,
    node: str,
    settle_s: float = SETTLE_SECONDS,
) -> ErasureSweeper:
    """Rids the store of erased people."""
    return ErasureSweeper(
        queue=erasures_in_store(settings, client),
        sweep=RedisErasureSweep(client=client, namespace=settings.namespace, is_outdated=is_outdated),
        proofs=Proofs(publisher=publisher, ids=UlidIds(), source="kairos/state-builder"),
        clock=clock,
        node=node,
        settle_s=settle_s,
    )


def is_outdated(layout: str, value: bytes, until_ms: int) -> bool:
    """Whether a stored value is of before that moment: all of it was gone when it was written otherwise."""
    if layout == ATTRIBUTION:
        try:
            return attributor_values.is_erased(value) or attributor_values.erased_until(value) < until_ms
        except AttributionUnreadable:
            return True  # nobody can say that it is of after
    return is_erased(value) or erased_until(value) < until_ms


def erasure_requests(
    settings: Settings, client: RedisClient, publisher: EventPublisher, clock: Clock
) -> RequestErasure | None:
    """The way in; None without a key."""
    pseudonyms = pseudonyms_of(settings)
    if pseudonyms is None:
        return None
    progress = erasures_in_store(settings, client)
    return RequestErasure(publisher=publisher, progress=progress, pseudonyms=pseudonyms, clock=clock, ids=UlidIds())


def _erased_in(form: StoredForm, settings: Settings, client: RedisClient) -> ErasedPeople | None:
    pseudonyms = pseudonyms_of(settings)
    if pseudonyms is None:
        return None
    return ErasedPeople(
        pseudonyms=pseudonyms,
        marks=erasures_in_store(settings, client),
        form=form,
        read_proofs=partial(proofs_on_the_bus, settings),
    )
