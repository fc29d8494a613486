"""The faster forms of tree models on this node: one at once, the compiled one when it is ready.

Compiling takes from seconds to minutes of a processor, so it happens in a process of the lowest priority, a model at a
time, while the form before serves; it ends with this process. A form that is not exact is dropped: that is logged and
shown, and it never serves.
"""

import asyncio
import atexit
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

from decision_engine.propensity import Scorer
from models.exact_forms import FormRefused
from models.fast_scoring import compiled_scorer, form_of, interpreted_scorer
from models.lignum_form import lignum_installed
from services.ports import Metrics

Done = Callable[[Scorer], None]
"""Called on the event loop with the compiled scorer."""
_Asked = tuple[Scorer, asyncio.AbstractEventLoop, Done]

_log = logging.getLogger(__name__)
_STOP_SECONDS = 5.0


class ScoringForms:
    """Implements `artifact_model_provider.Forms`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._waiting: SimpleQueue[_Asked | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._shown: dict[str, str] = {}

    def at_once(self, scorer: Scorer) -> Scorer:
        """The scorer over the fastest exact form that needs no compiler. Not for the event loop."""
        return interpreted_scorer(scorer, self._on_refused(scorer))

    def later(self, scorer: Scorer, done: Done) -> None:
        """Compiles in the background, where that is possible."""
        if form_of(scorer) is None or not lignum_installed():
            return
        self._waiting.put((scorer, asyncio.get_running_loop(), done))
        if self._thread is None:
            # A daemon: a process that ends does not wait for a compiler, but ends it.
            self._thread = threading.Thread(target=self._work, name="tree-compiler", daemon=True)
            self._thread.start()
            atexit.register(self.close)

    def close(self) -> None:
        """Ends a compilation under way; nothing is compiled any more."""
        self._stopping.set()
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(_STOP_SECONDS)

    def show(self, name: str, scorer: Scorer | None) -> None:
        """Tells the metrics by which form a model is scored now."""
        form = None if scorer is None else form_of(scorer)
        shown = self._shown.get(name)
        if shown is not None and shown != form:
            self._metrics.gauge("model_compiled", 0, model=name, form=shown)
        if form is not None:
            self._metrics.gauge("model_compiled", 1, model=name, form=form)
            self._shown[name] = form

    def _work(self) -> None:
        while (asked := self._waiting.get()) is not None and not self._stopping.is_set():
            self._compile(*asked)

    def _compile(self, scorer: Scorer, loop: asyncio.AbstractEventLoop, done: Done) -> None:
        try:
            compiled = compiled_scorer(scorer, self._on_refused(scorer), self._stopping)
        except Exception:  # noqa: BLE001 - what serves goes on serving
            _log.exception("%s could not be compiled", scorer.version, extra={"action": "compile"})
            return
        if compiled is not scorer:
            with suppress(RuntimeError):  # the loop is closed: nobody serves any more
                loop.call_soon_threadsafe(done, compiled)

    def _on_refused(self, scorer: Scorer) -> Callable[[FormRefused], None]:
        def tell(refusal: FormRefused) -> None:
            if not self._stopping.is_set():
                _log.warning(
                    "a form of model version %s is dropped, LightGBM's own or another exact one serves: %s",
                    *(scorer.version, refusal),
                    extra={"action": "form_dropped"},
                )

        return tell
