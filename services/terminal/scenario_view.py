"""A scenario on screen: what happens, what comes out of it, and why."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from services.simulation.scenario_player import Played
from services.simulation.scenario_script import Scenario

_SIGNS = {
    "event": "[cyan]event[/]",
    "decide": "[green]decision[/]",
    "outbound": "[magenta]contact[/]",
    "cancelled": "[yellow]cancelled[/]",
    "silence": "[dim]silence[/]",
    "respond": "[blue]response[/]",
    "attributed": "[green]attributed[/]",
    "advance": "[dim]time passes[/]",
    "say": "",
}


class ScenarioView:
    """Prints in one locale, with the other one's title beside it."""

    def __init__(self, locale: str = "en", console: Console | None = None) -> None:
        self._locale = locale
        self._console = console or Console(stderr=False)

    def open(self, scenario: Scenario, customer: str) -> None:
        """The title and what the story is about."""
        titles = "  ".join(dict.fromkeys((scenario.title.get("en", ""), scenario.title.get("zh-CN", ""))))
        self._console.rule(f"[bold]{scenario.id}  {titles}[/]")
        self._console.print(f"{scenario.about.get(self._locale, '')}  [dim]({customer})[/]")

    def show(self, played: Played) -> None:
        """One step."""
        said = played.step.say.get(self._locale)
        if said:
            self._console.print(f"\n[bold]{said}[/]")
        self._console.print(f"  {_SIGNS[played.act]} {_sentence(played)}")
        options = played.result.get("options")
        if played.act in ("decide", "outbound"):
            self._console.print(Padding(_options(options if isinstance(options, list) else []), (0, 0, 0, 4)))

    def close(self, scenario: Scenario) -> None:
        """Everything came out as it should."""
        self._console.print(f"\n[green]{scenario.id}: everything came out as the bank wants it[/]\n")


def _sentence(played: Played) -> str:
    result = played.result
    match played.act:
        case "event":
            return f"{result['type']} {_short(result['data'])}"
        case "decide":
            decision = result["decision"]
            where = played.step.decide.placement if played.step.decide else ""
            return f"{where}, decision {decision['decision_id']}" if isinstance(decision, Mapping) else where
        case "outbound":
            to = f" for {result['recipient']}" if result.get("recipient") else ""
            after = f"{result['seconds']:.2f} s after the last event"
            return f"{result['trigger']} by {result['channel']}{to}, {after}, decision {result['decision_id']}"
        case "cancelled":
            return f"{result['trigger']}: {result['reason']}"
        case "respond":
            return f"{result['outcome']} of {result['offer']}"
        case "attributed":
            return f"{result['conversions']} conversion credited to {result['offer']}"
        case "advance":
            return f"it is now {result['now']}"
        case _:
            return ""


def _short(data: object) -> str:
    pairs = data.items() if isinstance(data, Mapping) else ()
    return ", ".join(f"{name} {value}" for name, value in pairs if name not in ("account_id", "currency"))[:120]


def _options(options: Sequence[Mapping[str, object]]) -> Table | str:
    if not options:
        return "[dim]nothing is offered[/]"
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for option in options:
        content, reasons = option.get("content"), option.get("reasons")
        title = content.get("title", "") if isinstance(content, Mapping) else ""
        why = "; ".join(str(r["text"]) for r in reasons) if isinstance(reasons, list) else ""
        script = str(option.get("script") or "")
        table.add_row(f"[bold]{option['offer']}[/]", str(title), f"[italic]{why}[/]", script)
    return table
