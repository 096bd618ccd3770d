"""The hub's own reading and writing of `rt.v1.json` (REALTIME 1.2).

It shares nothing with the client's: two codecs written apart agree only if both
follow the page, and the tests that join them find out.  Whatever a peer sends
becomes either `Frame`s or a `BadFrame` that says what was wanted and what came;
nothing a peer can send raises.  Messages never quote a peer's values, which may
be secrets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import attrs
import msgspec

from holdfast.runtime import Secret

__all__ = [
    "SUBPROTOCOL", "AuthExpiring", "AuthOk", "AuthRefresh", "BadFrame", "Beat", "Bye", "Connect", "ErrorBody",
    "Frame", "Goaway", "Hello", "ReplayEnd", "ResumeClaim", "Subscription", "Welcome", "WindowBody",
    "body_of", "decode", "encode", "encode_batch", "frame", "reliable",
]  # fmt: skip

SUBPROTOCOL = "rt.v1.json"

# A batch holds no more frames than a window lets a sender have open.
BATCH_MAX = 256
# How deep a payload may be nested.  A reader of JSON gives up at a depth of its own, and what one client
# could send and another not read would keep that one's session from ever getting beyond it.
NESTING_MAX = 128
# A string of valid JSON.
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+"')
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
# JSON numbers above this lose digits in peers that read them as floats.
SEQ_MAX = 2**53 - 1

# As long as clients may make them: a message that is refused for its name is sent again for ever.
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Channel = _Name
_Seq = Annotated[int, msgspec.Meta(ge=1, le=SEQ_MAX)]
_Cursor = Annotated[int, msgspec.Meta(ge=0, le=SEQ_MAX)]

_NOTHING = msgspec.Raw()


class Frame(msgspec.Struct, frozen=True, omit_defaults=True):
    """The envelope.  `payload` is the JSON text of an object, or empty."""

    type: _Name
    id: _Name | None = None
    seq: _Seq | None = None
    ack: _Cursor | None = None
    re: _Name | None = None
    ch: _Channel | None = None
    ts: int | float | None = None
    payload: msgspec.Raw = _NOTHING


class WindowBody(msgspec.Struct, frozen=True):
    """How much may be un-acknowledged, in either direction."""

    frames: int
    bytes: int


class Hello(msgspec.Struct, frozen=True):
    """The hub's first frame."""

    conn: str
    hb_ms: int
    auth_timeout_ms: int
    max_frame: int
    window: WindowBody
    server_ts: int
    v: int = 1
    caps: tuple[str, ...] = ("batch",)
    """What the hub can do if the client asks for it in `connect`."""


class ResumeClaim(msgspec.Struct, frozen=True):
    """What a client says of the session that it wants back."""

    session: _Name
    key: Secret
    epoch: str
    recv_seq: _Cursor
    sent_lo: _Cursor = 0
    sent_hi: _Cursor = 0


class Connect(msgspec.Struct, frozen=True):
    """The client's first frame.  `token` only from clients that cannot set headers."""

    client_id: _Name
    token: Secret | None = None
    client: dict[str, str] = {}
    caps: list[str] = []
    resume: ResumeClaim | None = None


class Welcome(msgspec.Struct, frozen=True):
    """The answer to `connect`: which session, from where on."""

    session: str
    key: Secret
    epoch: str
    resumed: bool
    why: str | None
    recv_seq: int
    session_ttl_ms: int
    token_exp_ms: int
    hb_ms: int
    caps: tuple[str, ...] = ()
    """What was asked for and is done from now on."""


class ReplayEnd(msgspec.Struct, frozen=True):
    """Everything up to `through` has been sent again."""

    through: int


class Beat(msgspec.Struct, frozen=True):
    """The body of `ping` and `pong`."""

    n: int = 0


class AuthRefresh(msgspec.Struct, frozen=True):
    """A newer access token for a connection that stays up."""

    token: Secret


class AuthOk(msgspec.Struct, frozen=True):
    """The newer token holds until `exp_ms`, Unix time."""

    exp_ms: int


class AuthExpiring(msgspec.Struct, frozen=True):
    """The token ends in `in_ms`: send a newer one."""

    in_ms: int


class Goaway(msgspec.Struct, frozen=True):
    """The hub will close this connection; come back within the range named."""

    reason: str
    reconnect_in_ms: tuple[int, int]
    deadline_ms: int


class ErrorBody(msgspec.Struct, frozen=True):
    """What was wrong with the frame that `re` names."""

    code: str
    message: str
    retryable: bool = False
    retry_after_ms: int | None = None


class Bye(msgspec.Struct, frozen=True):
    """The client gives its session up."""

    reason: str = ""


class Subscription(msgspec.Struct, frozen=True):
    """The payload of `msg.subscribe` and `msg.unsubscribe`."""

    channel: _Channel


@attrs.frozen
class BadFrame:
    """What a peer sent that is no frame.  `fatal` when going on could lose something."""

    code: str
    message: str
    re: str | None = None
    fatal: bool = False


def _write_secret(value: object) -> str:
    """Reveal a key where it leaves for the one peer that may have it."""
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(f"{type(value).__name__} has no place on the wire")


def _read_secret(kind: type[object], value: object) -> Secret:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise ValueError("expected a string")


_encoder = msgspec.json.Encoder(enc_hook=_write_secret)
_frame_decoder = msgspec.json.Decoder(Frame)
_batch_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_body_decoders: dict[type[msgspec.Struct], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind, dec_hook=_read_secret)
    for kind in (Connect, Beat, AuthRefresh, Bye, Subscription)
}

Body = TypeVar("Body", bound=msgspec.Struct)


def decode(message: str | bytes, *, max_frame: int, batch: bool) -> list[Frame | BadFrame]:
    """Return what one WebSocket message holds; a batch only where it was negotiated."""
    if isinstance(message, bytes):
        return [BadFrame("bad_frame", f"wanted text with one JSON object, got {len(message)} binary bytes")]
    text = message.encode()
    if len(text) > max_frame:
        problem = f"wanted at most {max_frame} bytes, got {len(text)}"
        return [BadFrame("frame_too_big", problem, fatal=True)]
    if not text.startswith(b"["):
        return [_decode_one(text)]
    if not batch:
        return [BadFrame("bad_frame", "wanted a JSON object, got an array without the capability batch")]
    try:
        parts = _batch_decoder.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        return [BadFrame("bad_frame", _why(error))]
    if len(parts) > BATCH_MAX:
        return [BadFrame("bad_frame", f"wanted at most {BATCH_MAX} frames in a batch, got {len(parts)}")]
    return [_decode_one(bytes(part)) for part in parts]


def _decode_one(text: bytes) -> Frame | BadFrame:
    try:
        found = _frame_decoder.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        return BadFrame("bad_frame", _why(error))
    payload = bytes(found.payload)
    if _nested_deeper(payload, NESTING_MAX):
        wanted = f"wanted a `payload` nested at most {NESTING_MAX} deep, got a deeper one"
        return BadFrame("bad_frame", wanted, re=found.id)
    if payload not in {b"", b"null"} and not payload.startswith(b"{"):
        return BadFrame("bad_frame", "wanted a JSON object as `payload`, got another JSON value", re=found.id)
    # A copy: the raw part would keep the whole message in memory.  Only `_NOTHING` itself encodes as absent.
    copied = msgspec.Raw(payload) if payload.startswith(b"{") else _NOTHING
    return msgspec.structs.replace(found, payload=copied)


def _nested_deeper(json: bytes, limit: int) -> bool:
    """Return whether a valid JSON text has brackets open more than `limit` deep."""
    if json.count(b"[") + json.count(b"{") <= limit:
        return False
    deepest = depth = 0
    for bracket in _TEXT.sub(b"", json).translate(None, _ALL_BUT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest > limit


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "wanted a JSON object, got one nested too deeply"
    return f"wanted a frame of {SUBPROTOCOL}: {error}"


def body_of(found: Frame, kind: type[Body]) -> Body | BadFrame:
    """Return a control frame's payload as what its type demands; an empty payload is `{}`."""
    try:
        body: Body = _body_decoders[kind].decode(bytes(found.payload) or b"{}")
    except (msgspec.DecodeError, RecursionError) as error:
        problem = f"wanted the payload of {_KINDS.get(kind, kind.__name__)}: {error}"
        return BadFrame("bad_payload", problem, re=found.id)
    return body


_KINDS: dict[type[msgspec.Struct], str] = {
    Connect: "`connect`",
    Beat: "`ping`",
    AuthRefresh: "`auth.refresh`",
    Bye: "`bye`",
    Subscription: "a subscription",
}


def frame(kind: str, body: msgspec.Struct | None = None, *, re: str | None = None) -> Frame:
    """Return a control frame."""
    payload = msgspec.Raw(_encoder.encode(body)) if body is not None else _NOTHING
    return Frame(kind, re=re, payload=payload)


def reliable(kind: str, seq: int, *, id: str, re: str | None, ch: str | None, payload: bytes) -> Frame:  # noqa: A002
    """Return a message with its number; `payload` is the JSON text of an object, or empty."""
    return Frame(kind, id=id, seq=seq, re=re, ch=ch, payload=msgspec.Raw(payload) if payload else _NOTHING)


def encode(given: Frame) -> bytes:
    """Return the JSON text of one frame."""
    return _encoder.encode(given)


def encode_batch(texts: Sequence[bytes]) -> bytes:
    """Return encoded frames as the JSON array of a batch."""
    return b"[" + b",".join(texts) + b"]"
