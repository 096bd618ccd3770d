"""Supervision: who restarts whom, when, in which order, and when to give up.

Everything public is named here.  A tree is written with `worker`, `supervisor`
and `dynamic`, started with `start_tree`, and talked to through handles.
"""

from __future__ import annotations

from holdfast.runtime.backoff import Backoff
from holdfast.supervisors.child_spec import (
    FOREVER,
    KILL,
    Allowance,
    AutoShutdown,
    ChildSpec,
    Kind,
    OnGiveUp,
    Restart,
    ShutdownRule,
    Strategy,
)
from holdfast.supervisors.contradictions import Contradiction, find_contradictions
from holdfast.supervisors.correlation import Correlation
from holdfast.supervisors.declarations import dynamic as _dynamic
from holdfast.supervisors.declarations import supervisor as _supervisor
from holdfast.supervisors.declarations import template, worker
from holdfast.supervisors.errors import (
    AlreadyPresent,
    AlreadyStarted,
    BulkStartFailed,
    CallRefused,
    ChildNotRestartable,
    ChildRestarting,
    ChildRunning,
    ChildStartFailed,
    ChildSwitchedOff,
    ContradictoryTree,
    FailedToStartChild,
    InvalidSpec,
    NoSuchChild,
    NotCorrelating,
    NotForDynamic,
    NotReady,
    PreparationFailed,
    SpecError,
    StartArgumentsGone,
    TaskEnded,
    TaskTimeout,
    TooManyChildren,
    UnknownComponent,
)
from holdfast.supervisors.escalation import FullRestart, GiveUpAs
from holdfast.supervisors.handle import DynamicHandle, SupervisorHandle
from holdfast.supervisors.intensity import Budget
from holdfast.supervisors.jobs import TaskInfo, task_info
from holdfast.supervisors.messages import (
    ChildCounts,
    ChildHandle,
    ChildInfo,
    DependencyBack,
    DependencyDegraded,
    Supervision,
)
from holdfast.supervisors.partitions import (
    InvalidPartitionKey,
    NoPartitions,
    PartitionHandle,
    PartitionInfo,
    ResizeUnderWay,
    partition,
    partition_of,
)
from holdfast.supervisors.picture import render_tree
from holdfast.supervisors.probe_reports import ChildBack, ChildDegraded, ProbeDecided, ProbeFailed
from holdfast.supervisors.readiness import Readiness
from holdfast.supervisors.reports import (
    AutoShutdownDecided,
    BudgetLeft,
    ChildGivenUp,
    ChildNotRestarted,
    ComponentFailed,
    ContradictionFound,
    FullRestartCompleted,
    FullRestartStarted,
    NoticeIgnored,
    OrderlyRestart,
    Report,
    RestartDecided,
    RestartDelayed,
    StartAttemptFailed,
    StopWentWrong,
    SupervisorGaveUp,
    SystemFailure,
)
from holdfast.supervisors.supervisor import Supervisor
from holdfast.supervisors.task_stream import StreamItem, TaskStream
from holdfast.supervisors.tasks import TaskHandle, TaskSupervisorHandle, task_supervisor
from holdfast.supervisors.tree import NoSuchPath, TreeNode, restart_path, snapshot, start_tree

# Two rooms of this package have the names of two words: importing them has put the modules here,
# and the words take their places.
supervisor = _supervisor
dynamic = _dynamic

PERMANENT = Restart.PERMANENT
TRANSIENT = Restart.TRANSIENT
TEMPORARY = Restart.TEMPORARY
ONE_FOR_ONE = Strategy.ONE_FOR_ONE
REST_FOR_ONE = Strategy.REST_FOR_ONE
ONE_FOR_ALL = Strategy.ONE_FOR_ALL
NEVER = AutoShutdown.NEVER
ANY_SIGNIFICANT = AutoShutdown.ANY_SIGNIFICANT
ALL_SIGNIFICANT = AutoShutdown.ALL_SIGNIFICANT
ESCALATE = OnGiveUp.ESCALATE
STOP = OnGiveUp.STOP
DEGRADE = OnGiveUp.DEGRADE

__all__ = [
    "ALL_SIGNIFICANT",
    "ANY_SIGNIFICANT",
    "DEGRADE",
    "ESCALATE",
    "FOREVER",
    "KILL",
    "NEVER",
    "ONE_FOR_ALL",
    "ONE_FOR_ONE",
    "PERMANENT",
    "REST_FOR_ONE",
    "STOP",
    "TEMPORARY",
    "TRANSIENT",
    "Allowance",
    "AlreadyPresent",
    "AlreadyStarted",
    "AutoShutdown",
    "AutoShutdownDecided",
    "Backoff",
    "Budget",
    "BudgetLeft",
    "BulkStartFailed",
    "CallRefused",
    "ChildBack",
    "ChildCounts",
    "ChildDegraded",
    "ChildGivenUp",
    "ChildHandle",
    "ChildInfo",
    "ChildNotRestartable",
    "ChildNotRestarted",
    "ChildRestarting",
    "ChildRunning",
    "ChildSpec",
    "ChildStartFailed",
    "ChildSwitchedOff",
    "ComponentFailed",
    "Contradiction",
    "ContradictionFound",
    "ContradictoryTree",
    "Correlation",
    "DependencyBack",
    "DependencyDegraded",
    "DynamicHandle",
    "FailedToStartChild",
    "FullRestart",
    "FullRestartCompleted",
    "FullRestartStarted",
    "GiveUpAs",
    "InvalidPartitionKey",
    "InvalidSpec",
    "Kind",
    "NoPartitions",
    "NoSuchChild",
    "NoSuchPath",
    "NotCorrelating",
    "NotForDynamic",
    "NotReady",
    "NoticeIgnored",
    "OnGiveUp",
    "OrderlyRestart",
    "PartitionHandle",
    "PartitionInfo",
    "PreparationFailed",
    "ProbeDecided",
    "ProbeFailed",
    "Readiness",
    "Report",
    "ResizeUnderWay",
    "Restart",
    "RestartDecided",
    "RestartDelayed",
    "ShutdownRule",
    "SpecError",
    "StartArgumentsGone",
    "StartAttemptFailed",
    "StopWentWrong",
    "Strategy",
    "StreamItem",
    "Supervision",
    "Supervisor",
    "SupervisorGaveUp",
    "SupervisorHandle",
    "SystemFailure",
    "TaskEnded",
    "TaskHandle",
    "TaskInfo",
    "TaskStream",
    "TaskSupervisorHandle",
    "TaskTimeout",
    "TooManyChildren",
    "TreeNode",
    "UnknownComponent",
    "dynamic",
    "find_contradictions",
    "partition",
    "partition_of",
    "render_tree",
    "restart_path",
    "snapshot",
    "start_tree",
    "supervisor",
    "task_info",
    "task_supervisor",
    "template",
    "worker",
]
