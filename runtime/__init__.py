"""The actor runtime: actors, refs, mailboxes, asks, timers, watches, and the system they live in.

Everything public is named here.  Supervision is the layer above:
`holdfast.supervisors`.
"""

from __future__ import annotations

from holdfast.runtime.address import Address, UnixAddress
from holdfast.runtime.asks import ReplyToken
from holdfast.runtime.backoff import Backoff, InvalidBackoff
from holdfast.runtime.behavior import IGNORE, Actor, Ignore, Info, on
from holdfast.runtime.cell import Cell
from holdfast.runtime.clock import Clock, SystemWallClock, WallClock, iso_timestamp
from holdfast.runtime.context import Context
from holdfast.runtime.embed import open_system
from holdfast.runtime.errors import (
    ActorCrashed,
    ActorDegraded,
    ActorGone,
    AskCycle,
    AskError,
    AskTimeout,
    CallbackFailed,
    DefinitionError,
    HoldfastError,
    InspectionTimeout,
    InvalidLiveness,
    InvalidSystem,
    InvalidTimeout,
    MailboxFull,
    NameTaken,
    NoHandler,
    NoSuchActor,
    NotRunning,
    PortalFull,
    RefusedInSimulation,
    ResourceHeld,
    SendTimeout,
    StartFailed,
    StartTimeout,
    StopDeadlineExceeded,
    StopHookOverdue,
    StoppedOtherwise,
    StopTimeout,
    StrayCancellation,
    SystemClosed,
    Unresponsive,
    WrongThread,
)
from holdfast.runtime.events import (
    ActorEnded,
    ActorStarted,
    ActorStartFailed,
    CrashReported,
    DeadLetter,
    Event,
    HandlerSlow,
    ObserverRemoved,
    TaskWedged,
    ThreadBlocked,
    event_name,
)
from holdfast.runtime.identity import InvalidName
from holdfast.runtime.introspection import Inspection, Trace
from holdfast.runtime.key_identity import ANY, InvalidKey
from holdfast.runtime.key_locks import KeyLock, KeyLocks, LockBusy, LockReentered, LockTimeout
from holdfast.runtime.keys import (
    AlreadyRegistered,
    KeyEntry,
    KeyRegistered,
    KeyRegistry,
    KeyUnregistered,
    NotRegistered,
    RegistryFull,
)
from holdfast.runtime.liveness import UNWATCHED, LivenessSpec
from holdfast.runtime.loop_thread import NotLoopThread
from holdfast.runtime.mailbox import MailboxSpec
from holdfast.runtime.messages import Answer, Down, Ended, InjectedFault, Message, Request
from holdfast.runtime.observation import Observed
from holdfast.runtime.outcomes import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    Crash,
    GaveUp,
    Killed,
    Normal,
    Outcome,
    Shutdown,
)
from holdfast.runtime.portal import Portal
from holdfast.runtime.ref import Ref
from holdfast.runtime.seams import Listener, Seams, StoreUnreadable
from holdfast.runtime.secret import REDACTED, Secret
from holdfast.runtime.statistics import ActorStatistics, MessageStatistics
from holdfast.runtime.system import Statistics, System
from holdfast.runtime.tracing import EventStream, Subscription
from holdfast.runtime.watchdog import WatchdogSpec

__all__ = [
    "ANY",
    "IGNORE",
    "KILLED",
    "NORMAL",
    "REDACTED",
    "SHUTDOWN",
    "UNWATCHED",
    "Actor",
    "ActorCrashed",
    "ActorDegraded",
    "ActorEnded",
    "ActorGone",
    "ActorStartFailed",
    "ActorStarted",
    "ActorStatistics",
    "Address",
    "AlreadyRegistered",
    "Answer",
    "AskCycle",
    "AskError",
    "AskTimeout",
    "Backoff",
    "CallbackFailed",
    "Cell",
    "Clock",
    "Context",
    "Crash",
    "CrashReported",
    "DeadLetter",
    "DefinitionError",
    "Down",
    "Ended",
    "Event",
    "EventStream",
    "GaveUp",
    "HandlerSlow",
    "HoldfastError",
    "Ignore",
    "Info",
    "InjectedFault",
    "Inspection",
    "InspectionTimeout",
    "InvalidBackoff",
    "InvalidKey",
    "InvalidLiveness",
    "InvalidName",
    "InvalidSystem",
    "InvalidTimeout",
    "KeyEntry",
    "KeyLock",
    "KeyLocks",
    "KeyRegistered",
    "KeyRegistry",
    "KeyUnregistered",
    "Killed",
    "Listener",
    "LivenessSpec",
    "LockBusy",
    "LockReentered",
    "LockTimeout",
    "MailboxFull",
    "MailboxSpec",
    "Message",
    "MessageStatistics",
    "NameTaken",
    "NoHandler",
    "NoSuchActor",
    "Normal",
    "NotLoopThread",
    "NotRegistered",
    "NotRunning",
    "Observed",
    "ObserverRemoved",
    "Outcome",
    "Portal",
    "PortalFull",
    "Ref",
    "RefusedInSimulation",
    "RegistryFull",
    "ReplyToken",
    "Request",
    "ResourceHeld",
    "Seams",
    "Secret",
    "SendTimeout",
    "Shutdown",
    "StartFailed",
    "StartTimeout",
    "Statistics",
    "StopDeadlineExceeded",
    "StopHookOverdue",
    "StopTimeout",
    "StoppedOtherwise",
    "StoreUnreadable",
    "StrayCancellation",
    "Subscription",
    "System",
    "SystemClosed",
    "SystemWallClock",
    "TaskWedged",
    "ThreadBlocked",
    "Trace",
    "UnixAddress",
    "Unresponsive",
    "WallClock",
    "WatchdogSpec",
    "WrongThread",
    "event_name",
    "iso_timestamp",
    "on",
    "open_system",
]
