"""What can hardly be meant in a strategy is found, with its place, and nothing else is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from decision_engine.strategy_loading.analysis import analyse
from decision_engine.strategy_loading.analysis_findings import Finding, FindingKind, Severity
from services.__main__ import main
from services.adapters.file_strategy_source import load_strategy_file, load_strategy_with_document

SAMPLE = Path(__file__).parent / "sample_strategy.yaml"
NO_CARD = "when: '!has_product(\"gold_card\")'"
SPENDS = "when: card_spend_sum_30d > 0,"
REASON = "when: card_spend_sum_30d >= 500000"
Changed = Callable[..., Path]


@pytest.fixture
def changed(tmp_path: Path) -> Changed:
    """The sample with pieces of its text replaced."""

    def write(*replacements: tuple[str, str]) -> Path:
        text = SAMPLE.read_text(encoding="utf-8")
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "strategy.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def found(path: Path) -> list[Finding]:
    strategy, document = load_strategy_with_document(path)
    return list(analyse(strategy, document))


def only(path: Path) -> Finding:
    findings = found(path)
    assert len(findings) == 1, findings
    return findings[0]


def line_of(path: Path, text: str) -> int:
    return next(n for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if text in line)


def test_a_sound_strategy_has_no_findings() -> None:
    assert found(SAMPLE) == []


def test_a_rule_that_no_one_passes_is_an_error_with_the_tests_that_exclude_each_other(changed: Changed) -> None:
    path = changed((SPENDS, "when: 'vip && balance < 1000 && age > 20 && balance > 5000',"))
    finding = only(path)
    assert (finding.kind, finding.severity) == (FindingKind.NEVER_HOLDS, Severity.ERROR)
    assert finding.message == "spends can never hold: balance < 1000 and balance > 5000 exclude each other"
    assert finding.place.line == line_of(path, "id: spends")
    assert finding.place.path == "offers[gold_card].applicability[spends].when"
    assert str(finding).startswith(
        f"{path}:{finding.place.line}: offers[gold_card].applicability[spends].when: error: "
    )


@pytest.mark.parametrize(
    "condition",
    [
        'city != "beijing" && city != "shanghai"',
        "!has(age) && age > 20",
        "age > 30 && age < 31",
        "age == 30.5",
        "vip && !vip",
        'now - risk_assessed_at < duration("1h") && now - risk_assessed_at > duration("2h")',
        'has_product("loan") && !has_product("loan")',
        "age in []",
        "age / 0 > 1",
        "age < balance && balance < age",
        "idle_share > 0.5 && idle_share <= 0.5",
        'last_kind.startsWith("card") && last_kind == "cash"',
        "[1, 2].exists(n, n == age && age > 5)",
        "size(last_kind) < 0",
        "now.getMonth() == 12",
        'risk_assessed_at.getHours("Asia/Shanghai") >= 24',
    ],
)
def test_what_no_one_passes_is_seen_through(changed: Changed, condition: str) -> None:
    assert only(changed((SPENDS, f"when: '{condition}',"))).kind is FindingKind.NEVER_HOLDS


@pytest.mark.parametrize(
    "condition",
    [
        "idle_share > 30.0 && idle_share < 31.0",
        "age > 30 && age < 32",
        'last_kind != "a" && last_kind != "b"',
        'last_kind.startsWith("card") && last_kind.endsWith("x")',
        "age > 20 && balance < age",
        "balance >= age && balance <= age",
        "!has(balance) || balance > 5",
        "vip == (age > 30)",
        "age % 2 == 1 && age % 3 == 2",
        "size(last_kind) <= 0",
        "now.getMonth() < 50",
        "(now - risk_assessed_at).getHours() >= 24",
    ],
)
def test_what_someone_may_pass_is_left_alone(changed: Changed, condition: str) -> None:
    assert found(changed((SPENDS, f"when: '{condition}',"))) == []


@pytest.mark.parametrize("condition", ["true", "1 < 2", "has(balance) || !has(balance)", "vip || true", "has(now)"])
def test_a_rule_that_refuses_no_one_is_a_warning(changed: Changed, condition: str) -> None:
    finding = only(changed((SPENDS, f"when: '{condition}',")))
    assert (finding.kind, finding.severity) == (FindingKind.ALWAYS_HOLDS, Severity.WARNING)


def test_a_rule_that_is_plainly_false_switches_an_offer_off_on_purpose(changed: Changed) -> None:
    finding = only(changed((SPENDS, "when: '1 > 2 && vip',")))
    assert (finding.kind, finding.severity) == (FindingKind.SWITCHED_OFF, Severity.WARNING)


def test_a_rule_that_a_policy_already_implies_is_shadowed(changed: Changed) -> None:
    path = changed((SPENDS, "when: 'age > 16',"))
    finding = only(path)
    assert (finding.kind, finding.severity) == (FindingKind.SHADOWED, Severity.WARNING)
    adult = line_of(path, "id: adult")
    assert finding.message == f"spends never refuses anyone: adult ({path}:{adult}) asks for more"


def test_a_rule_that_earlier_ones_imply_only_together_is_shadowed_by_them(changed: Changed) -> None:
    path = changed((SPENDS, "when: 'age > 16 && age < 80',"))
    card_age, adult = (f"{rule} ({path}:{line_of(path, f'id: {rule}')})" for rule in ("card_age", "adult"))
    assert only(path).message == f"spends never refuses anyone: {adult} and {card_age} together ask for as much"


def test_a_rule_that_asks_for_more_than_an_earlier_one_is_not_shadowed(changed: Changed) -> None:
    assert found(changed((SPENDS, "when: 'age > 20',"))) == []


def test_the_same_condition_written_otherwise_is_a_duplicate(changed: Changed) -> None:
    path = changed((SPENDS, "when: '!!(age >= (18)) && true',"))
    finding = only(path)
    assert finding.kind is FindingKind.DUPLICATE
    assert finding.message == f"spends repeats adult ({path}:{line_of(path, 'id: adult')})"


def test_rules_of_different_scopes_that_exclude_each_other_make_the_offer_impossible(changed: Changed) -> None:
    path = changed((SPENDS, "when: 'age > 75 && vip',"))
    finding = only(path)
    assert (finding.kind, finding.severity) == (FindingKind.OFFER_IMPOSSIBLE, Severity.ERROR)
    card_age, spends = line_of(path, "id: card_age"), line_of(path, "id: spends")
    assert finding.message == (
        f"no one can ever be offered gold_card: card_age ({path}:{card_age}) and spends ({path}:{spends}) "
        "exclude each other"
    )
    assert finding.place.line == line_of(path, "name: gold_card")


def test_a_contradiction_names_the_rules_it_takes_and_no_other(changed: Changed) -> None:
    path = changed((NO_CARD, "when: 'balance > age || vip'"), (SPENDS, "when: '!vip && balance <= age',"))
    finding = only(path)
    assert "no_gold_card_yet" in finding.message
    assert "spends" in finding.message
    assert "card_age" not in finding.message


def test_a_rule_against_the_offers_dates_makes_it_impossible(changed: Changed) -> None:
    finding = only(changed((SPENDS, "when: 'now > timestamp(\"2027-06-01T00:00:00Z\")',")))
    assert finding.kind is FindingKind.OFFER_IMPOSSIBLE
    assert finding.message.endswith("and its dates or risk level exclude each other")


def test_a_rule_against_the_risk_match_makes_it_impossible(changed: Changed) -> None:
    rule = "{id: careful, when: risk_level <= 2, code: CAREFUL, text: {zh-CN: 稳健, en: Careful}}"
    path = changed(
        ("en: Risk level}, sensitive: true}", "en: Risk level}}"),
        ("    risk_level: {issuer: R2", f"    suitability: [{rule}]\n    risk_level: {{issuer: R2"),
    )
    finding = only(path)
    assert finding.kind is FindingKind.OFFER_IMPOSSIBLE
    assert "bond_fund" in finding.message


def test_an_alternative_for_no_one_is_named(changed: Changed) -> None:
    finding = only(changed((SPENDS, "when: 'vip || age < 20 && age > 30',")))
    assert finding.kind is FindingKind.DEAD_PART
    assert finding.message == "in spends the part age < 20 && age > 30 never holds"


def test_a_reason_that_the_rules_exclude_never_counts(changed: Changed) -> None:
    path = changed((REASON, "when: card_spend_sum_30d < 0"))
    finding = only(path)
    assert (finding.kind, finding.place.line) == (FindingKind.UNREACHABLE, line_of(path, "HIGH_SPEND"))
    assert finding.message == "the reason HIGH_SPEND never counts: the rules of gold_card exclude it"


def test_a_context_weight_for_no_one_never_counts(changed: Changed) -> None:
    finding = only(changed(("""'context.page == "cards"'""", "'age > 3 && age < 3'")))
    assert finding.message == "the context weight age > 3 && age < 3 never counts: its condition can never hold"


def test_a_fault_of_a_policy_is_said_once_however_many_offers_are_under_it(changed: Changed) -> None:
    path = changed(("when: 'age >= 18'", "when: 'age >= 18 && age < 10'"))
    finding = only(path)
    assert finding.place.path == "policies[2].rules[adult].when"
    assert finding.place.line == line_of(path, "id: adult")


def test_without_its_document_a_finding_names_the_offer_and_the_rule(changed: Changed) -> None:
    findings = analyse(load_strategy_file(changed((SPENDS, "when: 'age > 16',"))))
    assert [str(finding) for finding in findings] == [
        "offers[gold_card].applicability[spends]: warning: spends never refuses anyone: adult asks for more"
    ]


def test_check_prints_warnings_and_fails_for_them_only_when_strict(
    changed: Changed, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(changed((SPENDS, "when: 'age > 16',")))
    assert main(["strategy", "check", path]) == 0
    shown = capsys.readouterr().out
    assert "warning: spends never refuses anyone" in shown
    assert "sound with 1 warning, version sample_bank-" in shown
    assert main(["strategy", "check", "--strict", path]) == 1
    assert capsys.readouterr().out.endswith("strategy.yaml: 1 warning\n")


def test_check_fails_for_an_error(changed: Changed, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["strategy", "check", str(changed((SPENDS, "when: 'age > 75',")))]) == 1
    assert capsys.readouterr().out.endswith("strategy.yaml: 1 error\n")


def test_a_gate_that_turns_its_condition_round_is_found_where_it_was_written(changed: Changed) -> None:
    gate = "{id: complaint, when: 'has(balance) || !has(balance)', code: COMPLAINT, text: {zh-CN: 投诉, en: Complaint}}"
    path = changed(("models: [", f"service_first: [{gate}]\nmodels: ["))
    finding = only(path)
    assert (finding.kind, finding.place.path) == (FindingKind.NEVER_HOLDS, "service_first[complaint].when")
    assert finding.place.line == line_of(path, "id: complaint")


@pytest.mark.parametrize(
    ("guard", "kind", "says"),
    [
        ('event.method == "qr" && event.method == "voice"', FindingKind.NEVER_HOLDS, "can never hold"),
        ("age > 5 && age < 3", FindingKind.NEVER_HOLDS, "can never hold"),
        ("false", FindingKind.SWITCHED_OFF, "is always false"),
        ("1 < 2", FindingKind.ALWAYS_HOLDS, "always holds"),
    ],
)
def test_a_triggers_guard_is_judged_as_rules_are(tmp_path: Path, guard: str, kind: FindingKind, says: str) -> None:
    path = tmp_path / "strategy.yaml"
    trigger = "  - name: login\n    title: {zh-CN: 登录, en: Login}\n    on: {event: bank.channel.login}\n"
    trigger += f"    contact: {{placement: home_banner}}\n    before: 'age > 5'\n    when: '{guard}'\n"
    path.write_text(SAMPLE.read_text("utf-8") + "\ntriggers:\n" + trigger, encoding="utf-8")
    finding = only(path)
    assert finding.kind is kind
    assert finding.message.startswith(f"the guard when of login {says}")
    assert (finding.place.path, finding.place.line) == ("triggers[login].when", line_of(path, f"when: '{guard}'"))
