"""The shell of reconnect: feeds its machine, and carries out what it decides.

It keeps nothing of its own.  What was asked for is in the `LinkIntent` above the
tree, so an incarnation after a crash dials by itself; what is true of the link,
the socket tells.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.actors.reconnect.decisions import Announce, Decision, Emit, StartTimer, StopTimer, TellSocket
from holdfast.actors.reconnect.machine import ReconnectMachine
from holdfast.actors.reconnect.messages import (
    AnswerOverdue,
    ConfigurationChanged,
    Connect,
    DialDue,
    Disconnect,
    GetLinkState,
    LinkIntent,
    LinkLost,
    LinkReady,
    LinkState,
    ListenerBehind,
    Retry,
    SocketStarted,
)
from holdfast.actors.reconnect.settings import ReconnectSettings
from holdfast.runtime import Actor, Down, MailboxFull, Message, Ref, on

__all__ = ["ReconnectActor"]


class ReconnectActor(Actor):
    def __init__(
        self,
        settings: ReconnectSettings,
        *,
        intent: LinkIntent,
        socket: Ref,
        listeners: Sequence[Ref] = (),
    ) -> None:
        self._machine = ReconnectMachine(settings, intent)
        self._socket = socket
        self._listeners = tuple(listeners)

    def on_start(self) -> None:
        self.context.watch(self._socket)
        self._carry_out(self._machine.start(self.context.now()))

    @on(Connect)
    def connect(self, message: Connect) -> None:
        self._step(message)

    @on(Disconnect)
    def disconnect(self, message: Disconnect) -> None:
        self._step(message)

    @on(Retry)
    def retry(self, message: Retry) -> None:
        self._step(message)

    @on(ConfigurationChanged)
    def configuration_changed(self, message: ConfigurationChanged) -> None:
        self._step(message)

    @on(LinkReady)
    def link_ready(self, message: LinkReady) -> None:
        self._step(message)

    @on(LinkLost)
    def link_lost(self, message: LinkLost) -> None:
        self._step(message)

    @on(SocketStarted)
    def socket_started(self, message: SocketStarted) -> None:
        self._step(message)

    @on(DialDue)
    def dial_due(self, message: DialDue) -> None:
        self._step(message)

    @on(AnswerOverdue)
    def answer_overdue(self, message: AnswerOverdue) -> None:
        self._step(message)

    @on(Down)
    def socket_down(self, message: Down) -> None:
        draw = self.context.seams.random.random()
        self._carry_out(self._machine.socket_down(str(message.outcome), self.context.now(), draw))

    @on(GetLinkState)
    def state(self, _message: GetLinkState) -> LinkState:
        return self._machine.link_state()

    def _step(self, fact: Message) -> None:
        draw = self.context.seams.random.random()
        self._carry_out(self._machine.handle(fact, self.context.now(), draw))

    def _carry_out(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            match decision:
                case TellSocket(message):
                    self._tell(self._socket, message)
                case Announce(message):
                    for listener in self._listeners:
                        self._tell(listener, message)
                case Emit(event):
                    self.context.emit(event)
                case StartTimer(key, delay, message):
                    self.context.after(delay, message, key=key)
                case StopTimer(key):
                    self.context.cancel_timer(key)

    def _tell(self, ref: Ref, message: Message) -> None:
        try:
            ref.tell(message)
        except MailboxFull as error:
            # A listener that is a whole mailbox behind can ask with GetLinkState; a dial
            # that did not reach the socket is overdue before long, and dialled again.
            self.context.emit(ListenerBehind(str(error)))
