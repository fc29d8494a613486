"""Everything the API needs, filled by the composition root."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from decision_engine.identifiers import CustomerId
from decision_engine.online import OnlineTable
from services.api.authentication import Authenticator
from services.api.load_gate import LoadGate
from services.api.load_limit import LoadTerms
from services.api.rate_limits import Admission, Room
from services.api.stream_feed import OutboundFeed
from services.api.stream_response import StreamLimits
from services.ports import (
    AccessReasons,
    Clock,
    ContactLedger,
    DecisionStore,
    EventPublisher,
    IdFactory,
    Metrics,
    RecentCustomers,
    SessionStore,
    StrategyVersions,
    VolumeLeases,
)
from services.use_cases.attribution_report import AttributionReports
from services.use_cases.authoring.tools import AuthoringTools
from services.use_cases.canary_strategy import Canary
from services.use_cases.customer_map.shelf import SnapshotShelf
from services.use_cases.decision_command import DEFAULT_TIMEOUT_MS
from services.use_cases.erasure.request_erasure import RequestErasure
from services.use_cases.explain_decision import ArchivedDecisions
from services.use_cases.governance.audit import AuditLog
from services.use_cases.governance.desk import GovernanceDesk
from services.use_cases.governance.simulations import Simulations
from services.use_cases.kill_switches import KillSwitches
from services.use_cases.leads.marks import LeadMarks
from services.use_cases.leads.results import LeadResults
from services.use_cases.live_strategy import PendingVersion
from services.use_cases.make_decision import Live
from services.use_cases.observing.decision_proof import ProveDecisions
from services.use_cases.observing.decision_search import DecisionLog
from services.use_cases.observing.model_health import ModelDesk
from services.use_cases.observing.results_reading import LogReading
from services.use_cases.observing.volumes import VolumeDesk
from services.use_cases.person_export.export_person import ExportPerson
from services.use_cases.record_keeping import RecordKeeper
from services.use_cases.shadow_scoring import ShadowScoring

Check = Callable[[], Awaitable[None]]
"""Returns when a dependency answers; any exception means that it does not."""


@dataclass(frozen=True, slots=True)
class LeadPorts:
    """Who works on which lead, and what leads have earned as this node knows it."""

    marks: LeadMarks
    results: LeadResults


@dataclass(frozen=True, slots=True)
class DecisionPorts:
    """Where recorded decisions are searched for, and what computes them again."""

    log: DecisionLog
    proofs: ProveDecisions


@dataclass(frozen=True, slots=True)
class ResultPorts:
    """What came of decisions, as the archive has it; how volumes stand; how models do."""

    log: LogReading
    volumes: VolumeDesk
    models: ModelDesk


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRuntime:
    """Open ports and plain values.

    `live` answers what decides now. `exposition` gives the metrics page and its content type. `checks` are what
    readiness asks, by name. `gate` refuses decisions and responses so that those taken stay within their deadlines;
    without one the routes make their own, which never lets more than `max_in_flight` in.
    """

    live: Callable[[], Live]
    store: DecisionStore
    ledger: ContactLedger
    publisher: EventPublisher
    clock: Clock
    ids: IdFactory
    metrics: Metrics
    authenticator: Authenticator
    exposition: Callable[[], tuple[bytes, str]]
    checks: Mapping[str, Check] = field(default_factory=dict)
    pending: Callable[[], PendingVersion | None] = lambda: None
    """The version that is active and does not decide on this node yet, and why."""
    archive: ArchivedDecisions | None = None
    strategies: StrategyVersions | None = None
    """Those that decided before; None knows the live one only."""
    volumes: VolumeLeases | None = None
    """This node's part of the bank's volumes; None where the strategy has none."""
    keeper: RecordKeeper | None = None
    """Keeps records behind their answers; drained before the store is closed."""
    shadows: ShadowScoring | None = None
    """Asks the models in the shadow; None where nobody does."""
    online: Callable[[], OnlineTable | None] = lambda: None
    """What online learning believes at this moment."""
    outbound: OutboundFeed | None = None
    """This node's view of the outbound topic, for streams; None serves none."""
    stream_limits: StreamLimits = field(default_factory=StreamLimits)
    attribution: AttributionReports | None = None
    """Reports over archived conversions; None where there is no archive."""
    switches: KillSwitches | None = None
    """What is stopped, as this node has read it; None stops nothing."""
    live_for: Callable[[CustomerId], Live] | None = None
    """What decides for one customer, where a version serves a share of them; None: `live` for everybody."""
    canary: Callable[[], Canary | None] = lambda: None
    """The version that decides for a share of the customers, if any."""
    sessions: SessionStore | None = None
    """Sessions of people at the screens; None serves no screens."""
    recent: RecentCustomers | None = None
    """Which customers each person opened last; None remembers none."""
    reasons: AccessReasons | None = None
    """Why persons have opened customers; None: who needs a reason sees none."""
    leads: LeadPorts | None = None
    """What the inbox of relationship managers needs; None serves none."""
    authoring: AuthoringTools | None = None
    """What the marketing console reads and asks with; None serves none."""
    governance: GovernanceDesk | None = None
    """The desk of governance (docs/governance.md); None where nobody can act."""
    simulations: Simulations | None = None
    """Simulations started here, and those of other nodes; None where there is no archive to simulate on."""
    audit: AuditLog | None = None
    """The log of acts itself, for whoever audits it; None exports none."""
    snapshots: SnapshotShelf | None = None
    """Snapshots of all customers, for the map; None shows none."""
    decisions: DecisionPorts | None = None
    """What looking back at decisions needs; None finds them by id only, and computes none again."""
    results: ResultPorts | None = None
    """What the console says of how it goes; None says nothing."""
    erasures: RequestErasure | None = None
    """The way to have a person erased; None where erasure is not set up."""
    export_person: ExportPerson | None = None
    """Gathers what is held on a person; None where there is no archive."""
    replays: bool = False
    """Whether the clock follows the events, so that these may be of any time."""
    decision_timeout_ms: int = DEFAULT_TIMEOUT_MS
    admission: Admission = field(default_factory=Admission)
    """How much of this node each client uses."""
    other_requests: Room = field(default_factory=lambda: Room(64))
    """Whatever is neither a decision nor a response; these have room of their own."""
    gate: LoadGate | None = None
    max_in_flight: int = LoadTerms().most
