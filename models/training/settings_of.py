"""The settings of a fit as the strategy declares them."""

from dataclasses import replace

from decision_engine.model_training import Family, ModelTraining
from models.training.settings import FitSettings

GROUP = "group"
"""Offer groups are calibrated each by itself unless the strategy says by what."""


def declared(settings: FitSettings, training: ModelTraining) -> FitSettings:
    """The settings with what the strategy declares of the model."""
    usual = () if training.family is Family.CHURN else (GROUP,)
    return replace(
        settings,
        rising=training.rising,
        falling=training.falling,
        balance=training.balance,
        calibrate_by=training.calibrate_by or usual,
    )
