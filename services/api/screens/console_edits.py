"""A change of a draft, as every form of the console makes it: made, saved, or shown again with what was wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.api.screens.console_fields import Posted, texts_of
from services.api.screens.console_frame import Console, Refusal
from services.api.screens.console_work import Work
from services.api.screens.visits import Form, Visit
from services.use_cases.authoring.entries import Changed

Change = Callable[[Work], Changed]
"""What a form asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What became of a change: `changed` is None where it could not be made, `saved` where nothing was saved."""

    changed: Changed | None
    saved: Work | None
    refusal: Refusal | None

    def shown_again(self, form: str, texts: Mapping[str, str]) -> Posted:
        """The form as it was sent, with what is wrong."""
        faults = {} if self.changed is None else self.changed.faults
        return Posted(form=form, texts=texts, faults=faults, refusal=self.refusal.text if self.refusal else "")


async def try_change(console: Console, visit: Visit, work: Work, change: Change) -> Tried:
    """Makes the change and, unless a field is at fault, saves it."""
    changed: Changed | None = None
    saved: Work | None = None

    async def act() -> None:
        nonlocal changed, saved
        changed = change(work)
        if not changed.faults:
            saved = await console.works.save(work, changed.files, visit.client.name)

    refusal = await console.attempt(act)
    return Tried(changed=changed, saved=saved, refusal=refusal)


async def work_after(console: Console, work: Work, tried: Tried) -> Work:
    """What is worked in now: as it was saved; after a refusal read again, as somebody else may have saved before."""
    return tried.saved or (work if tried.refusal is None else await console.works.open(work.where))


def sent_texts(form: Form) -> dict[str, str]:
    """The texts of a form's fields, without those that say which form it is."""
    return texts_of({key: values for key, values in form.fields.items() if not key.startswith("_")})
