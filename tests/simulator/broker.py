"""A queue that loses, doubles and reorders what it is given, as brokers do on their bad days."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from datetime import datetime

from kombu.exceptions import OperationalError


@dataclass(frozen=True, slots=True)
class Message:
    """A nudge on its way."""

    output_id: uuid.UUID
    published_at: datetime
    expires_seconds: float


class Broker:
    """Messages in the order they came; the simulator says what becomes of them."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.messages: list[Message] = []
        self.is_down = False
        self.published_count = 0

    def publish(self, *, kwargs: dict[str, str], now: datetime, expires: float | None = None) -> None:
        """Take a message, or refuse it as kombu does when there is nobody at the other end."""
        if self.is_down:
            raise OperationalError("connection refused")
        self.published_count += 1
        self.messages.append(Message(uuid.UUID(kwargs["output_id"]), now, expires or float("inf")))

    def take(self, *, now: datetime, in_order: bool) -> Message | None:
        """The next message that has not expired, or any of them."""
        while self.messages:
            message = self.messages.pop(0 if in_order else self._dice.randrange(len(self.messages)))
            if (now - message.published_at).total_seconds() <= message.expires_seconds:
                return message
        return None

    def lose(self) -> None:
        self.messages.pop(self._dice.randrange(len(self.messages)))

    def double(self) -> None:
        self.messages.append(self._dice.choice(self.messages))

    def flush(self) -> None:
        self.messages.clear()
