"""What authoring needs from outside."""

from dataclasses import dataclass

from services.use_cases.authoring.draft_check import LoadFiles
from services.use_cases.authoring.matching import CustomerSample
from services.use_cases.authoring.source_nodes import ReadSource


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthoringTools:
    """How files are read and loaded, and where customers are asked whether a condition holds for them."""

    read: ReadSource
    load: LoadFiles
    sample: CustomerSample
