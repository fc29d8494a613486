"""From a document to a strategy: everything is read and checked, and all problems are reported at once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from decision_engine.contact_ledger import Scope
from decision_engine.errors import StrategyInvalid
from decision_engine.identifiers import PlacementId, StrategyVersion, key32
from decision_engine.model_training import newcomers_of
from decision_engine.offers import LocalText, Offer, Placement
from decision_engine.strategy import ConsentPurpose, ContactLimit, Strategy
from decision_engine.strategy_loading.attribution import Attributable, read_attribution
from decision_engine.strategy_loading.boosts import read_boosts
from decision_engine.strategy_loading.catalogue import Surroundings, read_offers
from decision_engine.strategy_loading.conditions import Vocabulary
from decision_engine.strategy_loading.contact_limits import read_contact_policy
from decision_engine.strategy_loading.declarations import Basics, read_declarations
from decision_engine.strategy_loading.document import Node
from decision_engine.strategy_loading.engine_texts import ENGINE_TEXTS, consent_texts, in_locales
from decision_engine.strategy_loading.experiments import Names, read_experiments, read_standing
from decision_engine.strategy_loading.explorations import read_exploration
from decision_engine.strategy_loading.feature_declarations import EventFields
from decision_engine.strategy_loading.gates import read_consents, read_service_first, read_suitability
from decision_engine.strategy_loading.guard import read_guard
from decision_engine.strategy_loading.hierarchy import Hierarchy, read_hierarchy
from decision_engine.strategy_loading.levers import lever_names, read_lever_changes, with_added_weights
from decision_engine.strategy_loading.online import read_online
from decision_engine.strategy_loading.placements import read_placements
from decision_engine.strategy_loading.portrait import read_portrait
from decision_engine.strategy_loading.purposes import read_purposes
from decision_engine.strategy_loading.rules import Language, Policy, read_policies
from decision_engine.strategy_loading.section import Problems, Section
from decision_engine.strategy_loading.slates import read_slate
from decision_engine.strategy_loading.trainings import TrainingNames, read_trainings
from decision_engine.strategy_loading.triggers import TriggerNames, read_triggers
from decision_engine.strategy_loading.versioning import strategy_version
from decision_engine.strategy_loading.volumes import read_volumes, volume_names


def load_strategy(document: Node, event_fields: EventFields) -> Strategy:
    """The strategy a document describes; `event_fields` are the event types features may be declared over.

    Raises StrategyInvalid with every problem, in the order of files and lines.
    """
    problems = Problems()
    root = Section(document, "", problems)
    strategy = _read(root, event_fields)
    root.finish()
    if problems.found:
        raise StrategyInvalid(sorted(problems.found, key=lambda p: (p.file, p.line, p.path, p.message)))
    return replace(strategy, version=strategy_version(strategy))


def _read(root: Section, event_fields: EventFields) -> Strategy:
    basics = _basics(root)
    customers = read_declarations(root, basics, event_fields)
    consents = read_consents(root, basics.locales)
    suitability = read_suitability(root, customers.vocabulary)
    hierarchy = read_hierarchy(root, basics.locales)
    placements = read_placements(root, basics.locales)
    language = Language(vocabulary=customers.vocabulary, locales=basics.locales)
    surroundings = Surroundings(
        language=language,
        hierarchy=hierarchy,
        policies=_policies(root, language, hierarchy),
        placements=placements,
        purposes=tuple(consents),
        time_zone=basics.time_zone,
        gated=suitability is not None,
    )
    offers = read_offers(root, surroundings)
    lever_scopes = lever_names(offers, tuple(hierarchy.groups), hierarchy.issues, basics.time_zone)
    offers = with_added_weights(root, offers, language, lever_scopes)
    contacts = read_contact_policy(root, basics.locales, _scopes(offers, hierarchy, placements))
    strategy = Strategy(
        name=basics.name,
        version=StrategyVersion(""),
        time_zone=basics.time_zone,
        currency=basics.currency,
        locales=basics.locales,
        declarations=customers.declarations,
        dictionary=customers.dictionary,
        offers=offers,
        placements=placements,
        consents={name: consents[name] for name in sorted(consents)},
        suitability=suitability,
        contact_limits=contacts.limits,
        reservation_seconds=contacts.reservation_seconds,
        outbound_channels=contacts.outbound_channels,
        quiet_times=contacts.quiet_times,
        exploration=read_exploration(root),
        experiment=read_standing(root, basics.name),
        models=tuple(sorted({offer.model for offer in offers})),
        required_models=frozenset(name for name, required in hierarchy.models.items() if required),
        texts=_texts(basics.locales, consents, offers, contacts.limits),
        levers=read_lever_changes(root, offers, lever_scopes),
        boosts=read_boosts(root),
        segments=customers.segments,
        tags=customers.tags,
        links=customers.links,
        linked=customers.linked,
    )
    return _completed(root, strategy, hierarchy, customers.vocabulary, event_fields)


def _completed(
    root: Section, strategy: Strategy, hierarchy: Hierarchy, vocabulary: Vocabulary, event_fields: EventFields
) -> Strategy:
    """Adds what is declared over offers, placements and attributes."""
    _check_channels(root, strategy.placements)
    strategy = _with_trainings(root, strategy, tuple(hierarchy.groups), vocabulary)
    portrait = read_portrait(root, strategy.declarations, strategy.dictionary, strategy.locales)
    strategy = replace(strategy, portrait=portrait)
    strategy = _with_attribution(root, _with_sections_over_offers(root, strategy, hierarchy), event_fields)
    return read_purposes(root, _with_triggers(root, strategy, hierarchy, vocabulary, event_fields))


def _with_trainings(root: Section, strategy: Strategy, groups: Sequence[str], vocabulary: Vocabulary) -> Strategy:
    """Adds how models are trained; an acquisition model is one of the strategy's though no offer names it."""
    known = TrainingNames(
        dictionary=strategy.dictionary,
        vocabulary=vocabulary,
        profile=frozenset(attribute.name for attribute in strategy.declarations.profile),
        context={fact.name: fact.type for fact in strategy.declarations.context},
        groups=groups,
        offers=strategy.offers,
        locales=strategy.locales,
    )
    trainings = read_trainings(root, known)
    models = {*strategy.models, *(newcomers.model for newcomers in newcomers_of(trainings, strategy.offers))}
    scores = frozenset(training.score for training in trainings if training.score is not None)
    declarations = replace(strategy.declarations, inferred=scores)
    return replace(strategy, trainings=trainings, models=tuple(sorted(models)), declarations=declarations)


def _with_sections_over_offers(root: Section, strategy: Strategy, hierarchy: Hierarchy) -> Strategy:
    """Adds what is declared over the offers: volumes, slate, experiments."""
    offers, groups, issues = strategy.offers, tuple(hierarchy.groups), hierarchy.issues
    channels = sorted({placement.channel for placement in strategy.placements.values()})
    volume_scopes = volume_names(offers, groups, issues, channels, strategy.time_zone)
    names = Names(offers=offers, groups=groups, issues=issues, levers=strategy.levers)
    experiments = read_experiments(root, strategy.experiment, names)
    return replace(
        strategy,
        volumes=read_volumes(root, volume_scopes),
        slate=read_slate(root, offers, groups, channels),
        guard=read_guard(root),
        online=read_online(root, [segment.name for segment in strategy.segments]),
        holdouts=experiments.holdouts,
        experiments=experiments.layers,
    )


def _with_attribution(root: Section, strategy: Strategy, event_fields: EventFields) -> Strategy:
    """Adds how conversions are credited."""
    known = Attributable(
        offers=strategy.offers,
        channels=sorted({placement.channel for placement in strategy.placements.values()}),
        outbound=strategy.outbound_channels,
        event_fields=event_fields,
    )
    return replace(strategy, attribution=read_attribution(root, known))


def _with_triggers(
    root: Section, strategy: Strategy, hierarchy: Hierarchy, vocabulary: Vocabulary, event_fields: EventFields
) -> Strategy:
    """Adds the patterns of events that start contacts."""
    known = TriggerNames(
        offers=strategy.offers,
        groups=tuple(hierarchy.groups),
        issues=hierarchy.issues,
        placements=strategy.placements,
        attributes=strategy.dictionary,
        elsewhere=frozenset(attribute.name for attribute in strategy.linked),
        profile={attribute.name: attribute.type for attribute in strategy.declarations.profile},
        vocabulary=vocabulary,
        event_fields=event_fields,
        locales=strategy.locales,
    )
    return replace(strategy, triggers=read_triggers(root, known))


def _policies(root: Section, language: Language, hierarchy: Hierarchy) -> tuple[Policy, ...]:
    """What holds for many offers at once; service before sales comes first."""
    service_first = read_service_first(root, language, hierarchy.issues)
    return service_first + read_policies(root, language, tuple(hierarchy.groups), hierarchy.issues)


def _scopes(
    offers: Sequence[Offer], hierarchy: Hierarchy, placements: Mapping[PlacementId, Placement]
) -> dict[Scope, Sequence[str]]:
    """What a contact limit may be narrowed to, by scope."""
    return {
        Scope.OFFER: [offer.name for offer in offers],
        Scope.GROUP: tuple(hierarchy.groups),
        Scope.ISSUE: hierarchy.issues,
        Scope.CHANNEL: sorted({placement.channel for placement in placements.values()}),
    }


def _basics(root: Section) -> Basics:
    name = root.name("name")
    time_zone = root.text("time_zone")
    if time_zone and not _is_time_zone(time_zone):
        root.problem(f"{time_zone!r} is no time zone; write one such as Asia/Shanghai", "time_zone")
        time_zone = ""
    currency = root.text("currency")
    if currency and not (len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()):
        root.problem(f"{currency!r} is no currency; write its three letters, such as CNY", "currency")
    locales = root.texts("locales")
    if not locales and root.require("locales") is not None:
        root.problem("needs at least one locale", "locales")
    return Basics(name, time_zone or "UTC", currency, tuple(dict.fromkeys(locales)))


def _is_time_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _check_channels(root: Section, placements: Mapping[PlacementId, Placement]) -> None:
    """Different channels whose 32-bit keys in the contact ledger are the same cannot be told apart."""
    first: dict[int, str] = {}
    for channel in sorted({placement.channel for placement in placements.values()}):
        other = first.setdefault(key32(channel), channel)
        if other != channel:
            root.problem(f"channel {channel} has the same key as {other} in the contact ledger", "placements")


def _texts(
    locales: tuple[str, ...],
    consents: Mapping[str, ConsentPurpose],
    offers: Sequence[Offer],
    limits: Sequence[ContactLimit],
) -> dict[str, LocalText]:
    """Reason code to its words. A code that several rules share has the words of the first by name; each rule keeps
    its own."""
    texts: dict[str, LocalText] = {code: in_locales(text, locales) for code, text in ENGINE_TEXTS.items()}
    texts |= consent_texts(consents)
    own: dict[str, LocalText] = {}
    for offer in offers:
        for rule in (*offer.eligibility, *offer.applicability, *offer.suitability):
            own.setdefault(rule.code, rule.text)
        for reason in offer.reasons:
            own.setdefault(reason.code, reason.text)
    for limit in limits:
        own.setdefault(limit.code, limit.text)
    return texts | own
