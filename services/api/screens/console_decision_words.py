"""A decision's candidates in the words of a visit: titles, what stopped them, and why, as its own strategy says it."""

from collections.abc import Callable, Mapping

from decision_engine.contact_ledger import Scope
from decision_engine.outcomes import ContactStatus, Outcome, Stage, status_of
from decision_engine.strategy import ContactLimit, ContactWindow, QuietTime, Strategy, VolumeConstraint
from services.api.screens.formats import localized
from services.api.screens.words import Words
from services.use_cases.authoring.rule_words import words_of
from services.use_cases.observing.decision_candidates import rule_found
from services.use_cases.observing.decision_view import CandidateView

_DAY, _HOUR = 86_400, 3_600
Said = Callable[[str], str | None]
"""A condition in plain words."""
Reads = Callable[[str], tuple[str, ...]]
"""The names a condition reads."""


class DecisionWords:
    """Speaks for one decision in one language; remembers what it said, as candidates share their rules."""

    def __init__(self, words: Words, locale: str, strategy: Strategy | None, said: Said, reads: Reads) -> None:
        self._words = words
        self._locale = locale
        self._strategy = strategy
        self._said = said
        self._reads = reads
        self._facts = {} if strategy is None else words_of(strategy, locale).facts
        offers = () if strategy is None else strategy.offers
        self._titles: Mapping[str, str] = {o.name: localized(o.title, locale, o.name) for o in offers}
        self._rules: dict[tuple[str, str | None, str | None, str | None], tuple[str, str]] = {}

    def title(self, offer: str) -> str:
        """The offer's title, or its name."""
        return self._titles.get(offer, offer)

    def rule(self, one: CandidateView) -> str:
        """What stopped the candidate, in plain words; empty where the name is all that is known."""
        return self._about(one)[0]

    def why(self, one: CandidateView) -> str:
        """The reason people get, or its code."""
        return self._about(one)[1]

    def reads(self, one: CandidateView) -> tuple[str, ...]:
        """What the rule that stopped it looks at."""
        if self._strategy is None or one.stage is None:
            return ()
        condition = rule_found(self._strategy, one).condition
        return () if condition is None else self._reads(condition.when)

    def fact(self, name: str) -> str:
        """What an attribute or a fact of the request is called in rules."""
        return self._facts.get(name, name)

    def text(self, one: CandidateView) -> str:
        """Everything the candidate's row says, its title first."""
        rule, why = self._about(one)
        return " ".join((self.title(one.offer), one.offer, one.treatment, one.rule or "", one.code or "", rule, why))

    def _about(self, one: CandidateView) -> tuple[str, str]:
        if one.stage is None:
            return "", ""
        key = one.offer, one.stage.value, one.rule, one.code
        found = self._rules.get(key)
        if found is None:
            found = self._rules[key] = self._worded(one)
        return found

    def _worded(self, one: CandidateView) -> tuple[str, str]:
        code = one.code or ""
        engine = self._own(f"rule_{(one.rule or '').replace('.', '_')}")
        if self._strategy is None:
            return engine, self._own(f"code_{code}") or code
        found = rule_found(self._strategy, one)
        texts = self._strategy.texts.get(code)
        rule = engine
        if found.condition is not None:
            rule = self._own("needs", rule=self._said(found.condition.when) or found.condition.when)
            texts = found.condition.text or texts
        elif found.limit is not None:
            rule, texts = self._limit(found.limit), found.limit.text or texts
        elif found.quiet is not None:
            rule = self._quiet(found.quiet)
        elif found.volume is not None:
            rule = self._volume(found.volume, code)
        elif one.stage is Stage.CONSENT:
            rule = self._consent(one.rule or "")
        return rule, localized(texts, self._locale) or self._own(f"code_{code}") or code

    def _consent(self, rule: str) -> str:
        purpose = rule.partition(".")[2]
        word = self._words
        key = f"agent.consent_{purpose}"
        return self._own("consent_needed", name=word.text(key, self._locale) if word.has(key) else purpose)

    def _limit(self, limit: ContactLimit) -> str:
        related = limit.related is not None
        return self._own(
            "limit_said",
            n=limit.limit,
            what=self._statuses(limit.statuses),
            scope=self._own("scope_related" if related else f"scope_{Scope(limit.scope).name}"),
            window=self._window(limit.window),
        )

    def _statuses(self, statuses: int) -> str:
        if statuses & ContactStatus.RESERVED or statuses & ContactStatus.ANY_RESPONSE == ContactStatus.ANY_RESPONSE:
            return self._own("any_contact")
        names = [outcome for outcome in Outcome if statuses & status_of(outcome)]
        return self._own("or").join(self._words.text(f"agent.outcome_{name.value}", self._locale) for name in names)

    def _window(self, window: ContactWindow) -> str:
        if window.rolling_seconds is None:
            return self._own(f"window_{window.calendar}")
        for unit, size in (("days", _DAY), ("hours", _HOUR)):
            if window.rolling_seconds >= size:
                return self._own(f"window_{unit}", n=f"{window.rolling_seconds / size:g}")
        return self._own("window_minutes", n=f"{window.rolling_seconds / 60:g}")

    def _quiet(self, time: QuietTime) -> str:
        clock = [f"{minute // 60:02}:{minute % 60:02}" for minute in (time.from_minute, time.until_minute)]
        return self._own("quiet_said", since=clock[0], until=clock[1])

    def _volume(self, volume: VolumeConstraint, code: str) -> str:
        paced = "volume_paced" if code.endswith("PACED") else "volume_gone"
        return self._own(paced, name=volume.id, amount=f"{volume.amount:,}")

    def _own(self, word: str, /, **values: object) -> str:
        key = f"console_decisions.{word}"
        return self._words.text(key, self._locale, **values) if self._words.has(key) else ""
