"""The fairness tables of a log: every decision and every judged row put into its group.

An attribute is taken from the decision's own record where it is kept there, and otherwise from the bank's profile
events: sensitive attributes are no column of any model and seldom in a record. Decisions in the holdout are left out:
there nobody is offered anything, whoever they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from decision_engine.features.definitions import Value
from models.decision_log.examples import Example
from models.evaluation.full_report.bank_books import BankBooks
from models.evaluation.full_report.customer_groups import UNKNOWN, GroupBy, History, group_names, value_at
from models.evaluation.full_report.fairness import DecidedRows, FairnessTable, fairness_table
from models.evaluation.full_report.judged_rows import JudgedRows
from models.evaluation.full_report.log_pass import HOLDOUT, DecisionOutcome


@dataclass(frozen=True, slots=True)
class GroupedLog:
    """Decisions, labelled options with their judged rows, and the numbers of customers."""

    outcomes: Sequence[DecisionOutcome]
    examples: Sequence[Example]
    rows: JudgedRows
    numbers: Mapping[str, int]


def group_tables(groups: Sequence[GroupBy], log: GroupedLog, books: BankBooks) -> tuple[FairnessTable, ...]:
    """A table for each attribute that is known of anybody."""
    outcomes = [outcome for outcome in log.outcomes if outcome.arm != HOLDOUT]
    customers = np.array([log.numbers[outcome.customer] for outcome in outcomes], dtype=np.int64)
    offered = np.array([float(outcome.offered) for outcome in outcomes])
    earned = np.array([outcome.earned for outcome in outcomes])
    tables = []
    for by in groups:
        names = group_names([*_of_decisions(outcomes, by, books), *_of_rows(log.examples, by, books)], by)
        if (names == UNKNOWN).all():
            continue
        mine = {by.attribute: names[: len(outcomes)]}
        decided = DecidedRows(customers=customers, offered=offered, earned=earned, groups=mine)
        tables.append(fairness_table(by.attribute, decided, log.rows, names[len(outcomes) :]))
    return tuple(tables)


def _of_decisions(outcomes: Sequence[DecisionOutcome], by: GroupBy, books: BankBooks) -> list[Value | None]:
    return [
        outcome.told[by.attribute]
        if by.attribute in outcome.told
        else value_at(_history(books, by, outcome.customer), outcome.decided_ms)
        for outcome in outcomes
    ]


def _of_rows(examples: Sequence[Example], by: GroupBy, books: BankBooks) -> list[Value | None]:
    decisions = [example.decision for example in examples]
    return [
        decision.attributes[by.attribute]
        if by.attribute in decision.attributes
        else value_at(_history(books, by, decision.customer_id), decision.decided_ms)
        for decision in decisions
    ]


def _history(books: BankBooks, by: GroupBy, customer: str) -> History:
    return books.attributes[by.attribute].get(customer, ())
