"""The bounds are checked where they are written."""

from __future__ import annotations

import pytest

from holdfast.actors.delivery.settings import DeliverySettings, InvalidDeliverySettings


def test_the_defaults_are_the_protocols() -> None:
    settings = DeliverySettings()

    assert (settings.ack_every, settings.ack_delay, settings.frame_max) == (16, 0.1, 262_144)


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), True, "many"])
def test_a_bound_that_is_none_is_refused_with_its_name(value: int) -> None:
    with pytest.raises(InvalidDeliverySettings, match=r"^delivery\.outbox_messages must be a finite number"):
        DeliverySettings(outbox_messages=value)


def test_a_frame_that_could_never_pass_is_refused() -> None:
    with pytest.raises(InvalidDeliverySettings, match=r"^delivery\.frame_max must be at most outbox_bytes"):
        DeliverySettings(outbox_bytes=1_000)


def test_a_store_is_a_path_or_nothing() -> None:
    with pytest.raises(InvalidDeliverySettings, match=r"^delivery\.store must be a path or None"):
        DeliverySettings(store="journal.db")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
