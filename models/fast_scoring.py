"""Which form a tree model is scored by: the fastest installed one that was found exact, LightGBM's own otherwise."""

import threading
from collections.abc import Callable
from functools import partial

from decision_engine.propensity import Scorer
from models.errors import ArtifactUnreadable
from models.exact_forms import FormRefused, MarginForm, probes_of, require_exact
from models.gbdt_scorer import GbdtScorer
from models.lignum_form import COMPILED, LignumForm, lignum_installed
from models.mask_form import CandidateForm, MaskForm
from models.tree_text import TreeModel, read_trees

Refused = Callable[[FormRefused], None]
"""Told of every form that was dropped."""
FormMaker = Callable[[str, TreeModel, MarginForm], MarginForm]
"""Makes a form from the text, the trees read from it, and LightGBM's own call. Raises FormRefused."""


def form_of(scorer: Scorer) -> str | None:
    """The form a scorer walks its trees by; None for one that has none."""
    return scorer.form if isinstance(scorer, GbdtScorer) else None


def interpreted_scorer(scorer: Scorer, on_refused: Refused) -> Scorer:
    """The scorer over the fastest exact form that needs no compiler; the scorer itself where there is none."""
    return _over_first(scorer, (_interpreter, _masks) if lignum_installed() else (_masks,), on_refused)


def compiled_scorer(scorer: Scorer, on_refused: Refused, stopping: threading.Event | None = None) -> Scorer:
    """The scorer over compiled trees, which take from seconds to minutes to make, unless `stopping` is set meanwhile;
    the scorer itself where that cannot be."""
    if not lignum_installed() or form_of(scorer) == COMPILED:
        return scorer
    return _over_first(scorer, (partial(_compiled, stopping=stopping or threading.Event()),), on_refused)


def _over_first(scorer: Scorer, makers: tuple[FormMaker, ...], on_refused: Refused) -> Scorer:
    if not isinstance(scorer, GbdtScorer):
        return scorer
    try:
        text = scorer.text()
        model = read_trees(text)
    except ArtifactUnreadable as error:
        on_refused(FormRefused(f"only LightGBM itself reads these trees: {error}"))
        return scorer
    reference, probes = scorer.reference, probes_of(model)
    for maker in makers:
        try:
            form = maker(text, model, reference)
            require_exact(form, reference, probes)
        except FormRefused as error:
            on_refused(error)
            continue
        return scorer.walked_by(CandidateForm(form, reference) if isinstance(form, MaskForm) else form)
    return scorer


def _interpreter(text: str, _: TreeModel, plain: MarginForm) -> MarginForm:
    return LignumForm(text, plain)


def _masks(_: str, model: TreeModel, __: MarginForm) -> MarginForm:
    return MaskForm(model)


def _compiled(text: str, _: TreeModel, plain: MarginForm, stopping: threading.Event) -> MarginForm:
    return LignumForm(text, plain, stopping)
