"""What a supervisor is told about a child: how to start it, when to restart it, how to stop it.

A spec is checked when it is made, combinations too; nothing downstream checks
again (R4, R27).  `Group` is what makes a child a supervisor, `Pool` what makes
it a dynamic one.  The words in which a tree is written (`worker`,
`supervisor`, `dynamic`) are in `declarations.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import ClassVar, TypeAlias, cast

import attrs

from holdfast.runtime.backoff import Backoff
from holdfast.runtime.behavior import Actor
from holdfast.runtime.identity import NAME_LENGTH_MAX, check_name
from holdfast.runtime.liveness import LivenessSpec
from holdfast.runtime.seconds import is_seconds, is_seconds_above_zero
from holdfast.supervisors.correlation import Correlation
from holdfast.supervisors.dependencies import start_order
from holdfast.supervisors.errors import InvalidSpec, StartArgumentsGone
from holdfast.supervisors.escalation import FullRestart, GiveUpAs
from holdfast.supervisors.intensity import Budget
from holdfast.supervisors.readiness import Readiness

__all__ = [
    "FOREVER",
    "KILL",
    "Allowance",
    "AutoShutdown",
    "ChildSpec",
    "Group",
    "Kind",
    "OnGiveUp",
    "Pool",
    "Restart",
    "ShutdownRule",
    "Strategy",
]

# OTP's default for a worker: long enough to flush, short enough for a service manager's patience.
WORKER_ALLOWANCE = 5.0
# As long as one call may take: a start hook opens local resources and waits for nobody.
START_TIMEOUT = 5.0

# Dynamic children are named after their template, with a dash and a number: 12 digits are a start in each
# millisecond of 30 years.
TEMPLATE_ID_MAX = NAME_LENGTH_MAX - len("-") - 12

# What a supervisor may spend when it says nothing else (SEMANTICS: 3 in 5 s).
BUDGET = Budget()


class Restart(Enum):
    """Which ends are followed by a restart (R5)."""

    PERMANENT = "permanent"
    """Every end.  You most likely want this."""
    TRANSIENT = "transient"
    """Abnormal ends only: for work that may be done."""
    TEMPORARY = "temporary"
    """None; the spec is forgotten with the child."""


class Strategy(Enum):
    """Who is restarted together with a child that failed (R7)."""

    ONE_FOR_ONE = "one_for_one"
    """Nobody: the children do not depend on each other."""
    REST_FOR_ONE = "rest_for_one"
    """Those started after it: each may depend on the ones before it."""
    ONE_FOR_ALL = "one_for_all"
    """Everybody: they share a state that does not survive the loss of one."""


class AutoShutdown(Enum):
    """Whether the end of significant children ends the supervisor (R24-R26)."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    ALL_SIGNIFICANT = "all_significant"


class OnGiveUp(Enum):
    """What becomes of the tree when restarting this child has used up its budget."""

    ESCALATE = "escalate"
    """The supervisor gives up, and its own supervisor deals with that."""
    STOP = "stop"
    """The child has a budget of its own; it is stopped when that is spent, and its siblings go on.  A start
    that fails while the supervisor itself starts is another thing: it fails that start (R2)."""
    DEGRADE = "degrade"
    """The child has a budget of its own; it is switched off when that is spent, its siblings go on and
    those that depend on it are told, and it is probed until it is back."""


class Allowance(Enum):
    """The two ways of stopping a child that are no number of seconds (R18)."""

    KILL = "kill"
    """At once, without asking."""
    FOREVER = "forever"
    """Ask, and wait as long as it takes."""


KILL = Allowance.KILL
FOREVER = Allowance.FOREVER

ShutdownRule: TypeAlias = float | Allowance


class Kind(Enum):
    """How a child is counted (R32)."""

    WORKER = "worker"
    SUPERVISOR = "supervisor"


def _names(values: Sequence[str]) -> tuple[str, ...]:
    # A bare string is a sequence of letters; it is kept as it is, like what is none, for the check to refuse.
    given: object = values
    return tuple(values) if isinstance(given, Iterable) and not isinstance(given, str) else values  # type: ignore[return-value]


def _tuple(children: Sequence[ChildSpec]) -> tuple[ChildSpec, ...]:
    return tuple(children)


@attrs.frozen(kw_only=True)
class ChildSpec:
    """One child of a supervisor."""

    id: str
    factory: Callable[..., Actor] | None = attrs.field(default=None, repr=False)
    """Makes the actor anew for each incarnation.  None for a supervisor, which is made from `group`."""

    restart: Restart = Restart.PERMANENT
    shutdown: ShutdownRule = WORKER_ALLOWANCE
    """How long a stop may take before it becomes a kill: seconds, `KILL` or `FOREVER`."""

    significant: bool = False
    """Whether its end may end the supervisor, see `AutoShutdown`."""

    depends_on: tuple[str, ...] = attrs.field(default=(), converter=_names)
    """Siblings that are started before it.  A restart of one child alone does not wait for them."""

    start_timeout: float | None = START_TIMEOUT
    """How long the start hook may take.  None for a supervisor means: as long as its children's may."""

    ready: Readiness | None = None
    """A check of your own before it counts as started; its time limit adds to the start's."""

    on_give_up: OnGiveUp = OnGiveUp.ESCALATE
    budget: Budget | None = None
    """A budget of its own, charged before anything else.  What follows when it is spent says `on_give_up`:
    with `ESCALATE` one unit of the supervisor's budget, and its own begins anew, as if it stood under a
    supervisor of its own; else nothing is charged to the supervisor, and the default is 3 in 5 s."""

    probing: Backoff | None = None
    """How a child that is switched off is probed, for `OnGiveUp.DEGRADE`: the delays, of which at least half
    is waited, and in `stable_after` how long a probe stays up until the child is back.  None is the
    default: 5 s, doubled up to 300 s, stable after 30 s."""

    exclusive: tuple[str, ...] = attrs.field(default=(), converter=_names)
    """Names of resources (a port, a file) that a successor must not share with a wedged predecessor."""

    liveness: LivenessSpec | None = None
    """How long a handler may take; None leaves it to the class, and that to the system."""

    group: Group | Pool | None = attrs.field(default=None, repr=False)

    @property
    def kind(self) -> Kind:
        """Whether the child is a worker or a supervisor."""
        return Kind.WORKER if self.group is None else Kind.SUPERVISOR

    def without_factory(self) -> ChildSpec:
        """Return the spec as it is kept of a running temporary child: without its start arguments (R33)."""
        return self if self.group is not None else attrs.evolve(self, factory=_spent)

    def __attrs_post_init__(self) -> None:
        owner = f"child {check_name(self.id)!r}"
        self._check_fields(owner)
        self._check_combinations(owner)

    def _check_fields(self, owner: str) -> None:
        group: object = self.group
        if group is not None:
            if not isinstance(group, Group | Pool):
                raise InvalidSpec(owner, "group is a Group or a Pool", group)
            if self.factory is not None:
                raise InvalidSpec(
                    owner, "a supervisor is made from its group, without a factory", self.factory
                )
            if self.ready is not None:
                raise InvalidSpec(owner, "a supervisor is ready when its children are", self.ready)
        if self.group is None and not callable(self.factory):
            raise InvalidSpec(owner, "factory is a callable that makes the actor", self.factory)
        _check_enum(owner, "restart", Restart, self.restart)
        _check_enum(owner, "on_give_up", OnGiveUp, self.on_give_up)
        if type(self.significant) is not bool:
            raise InvalidSpec(owner, "significant is True or False", self.significant)
        if not isinstance(self.shutdown, Allowance) and not is_seconds(self.shutdown):
            raise InvalidSpec(owner, "shutdown is KILL, FOREVER or seconds of 0 or more", self.shutdown)
        if self.start_timeout is not None and not is_seconds_above_zero(self.start_timeout):
            raise InvalidSpec(
                owner, "start_timeout is a finite number of seconds above 0", self.start_timeout
            )
        if self.ready is not None:
            _check_type(owner, "ready is a Readiness", Readiness, self.ready)
        if self.liveness is not None:
            _check_type(owner, "liveness is a LivenessSpec", LivenessSpec, self.liveness)
        for field in ("depends_on", "exclusive"):
            names: object = getattr(self, field)
            if isinstance(names, str) or not _are_names(names):
                raise InvalidSpec(owner, f"{field} is a sequence of names", names)
        if self.budget is not None:
            _check_type(owner, "budget is a Budget", Budget, self.budget)
        if self.probing is not None:
            _check_type(owner, "probing is a Backoff", Backoff, self.probing)

    def _check_combinations(self, owner: str) -> None:
        if self.significant and self.restart is Restart.PERMANENT:
            raise InvalidSpec(owner, "a significant child is transient or temporary (R27)", "permanent")
        if self.group is None and self.start_timeout is None:
            raise InvalidSpec(owner, "a worker has a start_timeout in seconds", None)
        if self.restart is Restart.TEMPORARY:
            if self.on_give_up is not OnGiveUp.ESCALATE:
                wanted = f"on_give_up={self.on_give_up.name} needs a child that is restarted at all"
                raise InvalidSpec(owner, wanted, "restart=TEMPORARY")
            if self.budget is not None:
                wanted = "a budget of its own needs a child that is restarted at all"
                raise InvalidSpec(owner, wanted, "restart=TEMPORARY")
        if self.probing is not None and self.on_give_up is not OnGiveUp.DEGRADE:
            raise InvalidSpec(owner, "probing needs on_give_up=DEGRADE", self.on_give_up.name)
        if self.liveness is not None and self.group is not None:
            raise InvalidSpec(owner, "a supervisor has no liveness: its steps have limits", self.liveness)
        if self.id in self.depends_on:
            raise InvalidSpec(owner, "a child does not depend on itself", self.depends_on)


@attrs.frozen(kw_only=True)
class Group:
    """What makes a child a supervisor of children that have ids."""

    children: tuple[ChildSpec, ...] = attrs.field(converter=_tuple)
    """In start order: those that others depend on come first, else as they were written."""

    strategy: Strategy = Strategy.ONE_FOR_ONE
    budget: Budget = BUDGET
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    backoff: Backoff | None = None
    give_up_as: GiveUpAs = "gave_up"
    full_restart: FullRestart | None = None
    correlate: Correlation | None = None
    """When failures of several components below are answered by one full restart; None handles each alone."""

    strict: bool = False
    """Whether numbers that contradict each other are refused, not only reported."""

    def __attrs_post_init__(self) -> None:
        check_supervisor_fields("supervisor", self.budget, self.backoff, self.give_up_as)
        _check_enum("supervisor", "strategy", Strategy, self.strategy)
        _check_enum("supervisor", "auto_shutdown", AutoShutdown, self.auto_shutdown)
        if type(self.strict) is not bool:
            raise InvalidSpec("supervisor", "strict is True or False", self.strict)
        for child in self.children:
            _check_type("supervisor", "children are made by worker() or supervisor()", ChildSpec, child)
            check_significance(child, self.auto_shutdown)
        if self.full_restart is not None:
            _check_type("supervisor", "full_restart is a FullRestart", FullRestart, self.full_restart)
            if self.strategy is not Strategy.ONE_FOR_ALL and self.correlate is None:
                wanted = "full_restart needs strategy=ONE_FOR_ALL or correlate="
                raise InvalidSpec("supervisor", wanted, self.strategy.name)
        elif self.correlate is not None:
            object.__setattr__(self, "full_restart", FullRestart())
        object.__setattr__(self, "children", start_order(self.children))


@attrs.frozen(kw_only=True)
class Pool:
    """What makes a child a dynamic supervisor: children of one kind, started on demand."""

    template: ChildSpec
    budget: Budget = BUDGET
    max_children: int | None = None
    """None has no bound but memory; children being restarted count."""

    strategy: ClassVar[Strategy] = Strategy.ONE_FOR_ONE
    auto_shutdown: ClassVar[AutoShutdown] = AutoShutdown.NEVER
    full_restart: ClassVar[FullRestart | None] = None
    children: ClassVar[tuple[ChildSpec, ...]] = ()

    backoff: Backoff | None = None
    give_up_as: GiveUpAs = "gave_up"

    def __attrs_post_init__(self) -> None:
        check_supervisor_fields("dynamic supervisor", self.budget, self.backoff, self.give_up_as)
        wanted = "template is made by template() or supervisor()"
        _check_type("dynamic supervisor", wanted, ChildSpec, self.template)
        owner = f"template {self.template.id!r}"
        if self.template.significant:
            raise InvalidSpec(owner, "children of a dynamic supervisor are never significant (R27)", True)
        if self.template.depends_on:
            raise InvalidSpec(owner, "dynamic children depend on nobody", self.template.depends_on)
        if len(self.template.id) > TEMPLATE_ID_MAX:
            wanted = f"the id leaves room for a number: at most {TEMPLATE_ID_MAX} characters"
            raise InvalidSpec(owner, wanted, len(self.template.id))
        if self.max_children is not None and (type(self.max_children) is not int or self.max_children < 0):
            raise InvalidSpec(
                "dynamic supervisor", "max_children is a whole number of 0 or more", self.max_children
            )


def check_supervisor_fields(owner: str, budget: object, backoff: object, give_up_as: object) -> None:
    """Refuse what is wrong in the fields that both kinds of supervisors have."""
    if not isinstance(budget, Budget):
        raise InvalidSpec(owner, "budget is a Budget", budget)
    if backoff is not None and not isinstance(backoff, Backoff):
        raise InvalidSpec(owner, "backoff is a Backoff or None", backoff)
    if give_up_as != "gave_up" and give_up_as != "shutdown":  # noqa: PLR1714 - what came may have no hash
        raise InvalidSpec(owner, "give_up_as is 'gave_up' or 'shutdown'", give_up_as)


def check_significance(child: ChildSpec, auto_shutdown: AutoShutdown) -> None:
    """Refuse a significant child where significance has no effect (R27)."""
    if child.significant and auto_shutdown is AutoShutdown.NEVER:
        raise InvalidSpec(f"child {child.id!r}", "a significant child needs auto_shutdown", "NEVER")


def _spent() -> Actor:
    raise StartArgumentsGone("this child")


def _are_names(values: object) -> bool:
    return isinstance(values, tuple) and all(map(_is_name, cast("tuple[object, ...]", values)))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _check_type(owner: str, wanted: str, type_: type[object], value: object) -> None:
    if not isinstance(value, type_):
        raise InvalidSpec(owner, wanted, value)


def _check_enum(owner: str, field: str, enum: type[Enum], value: object) -> None:
    if not isinstance(value, enum):
        wanted = ", ".join(member.name for member in enum)
        raise InvalidSpec(owner, f"{field} is one of {wanted}", value)
