"""The public form of events: the one table of names and units of their JSON.

An event is ``{"type": name, "payload": {...}}`` with camelCase keys.  Inside the
process times are seconds; the form keeps the unit that each field has in the
product's documents.  Secrets are masked by their type on the way.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from holdfast.actors.logger.messages import Level
from holdfast.runtime import REDACTED, Event, Secret, event_name

__all__ = ["LEVELS", "MILLISECONDS", "encode_event", "event_form", "event_payload", "log_line"]

# Fields whose public unit is the millisecond; every other time stays in seconds (`expiresIn`).
MILLISECONDS: Mapping[str, frozenset[str]] = {
    "reconnect:attempt": frozenset({"delay"}),
    "reconnect:probe": frozenset({"delay"}),
    "error:classified": frozenset({"recommended_delay"}),
    "link:latency": frozenset({"round_trip"}),
}

# How grave an event is in the log, by the start of its name; the longest start that fits decides.
LEVELS: tuple[tuple[str, Level], ...] = (
    ("crash:", Level.ERROR),
    ("system:failure", Level.ERROR),
    ("component:failed", Level.WARN),
    ("task:wedged", Level.ERROR),
    ("supervisor:gave_up", Level.ERROR),
    ("supervisor:child_given_up", Level.ERROR),
    ("supervisor:stop_went_wrong", Level.WARN),
    ("supervisor:full_restart", Level.WARN),
    ("supervisor:restart", Level.WARN),
    ("supervisor:", Level.INFO),
    ("actor:start_failed", Level.ERROR),
    ("actor:", Level.DEBUG),
    ("dead:letter", Level.WARN),
    ("auth:error", Level.WARN),
    ("token:expired", Level.WARN),
    ("config:rejected", Level.ERROR),
    ("reconnect:exhausted", Level.WARN),
    ("link:down", Level.WARN),
    ("link:latency", Level.DEBUG),
    ("error:", Level.WARN),
    ("session:error", Level.WARN),
    ("message:undeliverable", Level.ERROR),
    ("message:unreadable", Level.ERROR),
    ("store:failed", Level.ERROR),
    ("outbox:abandoned", Level.ERROR),
)


def log_line(event: Event) -> tuple[Level, str, Mapping[str, object]]:
    """Return how an event is logged: its level, its name, its payload."""
    name = event_name(event)
    level = next((level for start, level in LEVELS if name.startswith(start)), Level.INFO)
    return level, name, event_payload(event)


def event_form(event: Event) -> dict[str, object]:
    """Return the event as plain data, ready for JSON: masked, in its public units."""
    return {"type": event_name(event), "payload": event_payload(event)}


def event_payload(event: Event) -> dict[str, object]:
    """Return the fields alone, in their public form."""
    in_milliseconds = MILLISECONDS.get(event_name(event), frozenset())
    return {
        _camel(name): _plain(_in_unit(value, name in in_milliseconds))
        for name, value in event.facts().items()
    }


def encode_event(event: Event) -> bytes:
    """Return the event as one line of JSON, without its end."""
    return msgspec.json.encode(event_form(event))


def _in_unit(value: object, milliseconds: bool) -> object:
    if not milliseconds or not isinstance(value, int | float):
        return value
    scaled = value * 1000
    return int(scaled) if scaled == int(scaled) else round(scaled, 3)


def _plain(value: object) -> object:
    return msgspec.to_builtins(value, enc_hook=_mask)


def _mask(value: object) -> object:
    if isinstance(value, Secret):
        return REDACTED
    # An exception or another foreign object: its class and words, never its insides.
    return f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)


def _camel(field: str) -> str:
    head, *rest = field.split("_")
    return head + "".join(word.capitalize() for word in rest)
