"""Events from the ledger to whoever follows them in this process. The ledger stays the truth."""

import asyncio
from collections import deque

from perplex_mono.operations.schemas import Envelope


class Subscription:
    """A bounded queue of one follower. When it overflows, the queue is dropped and `overflowed` says so."""

    def __init__(self, owner_id: str, operation_id: str | None, capacity: int) -> None:
        self.owner_id = owner_id
        self.operation_id = operation_id
        self._capacity = capacity
        self._queue: deque[Envelope] = deque()
        self._arrived = asyncio.Event()
        self._overflowed = False

    def offer(self, event: Envelope) -> None:
        """Queue the event, or drop everything and mark the overflow."""
        if len(self._queue) >= self._capacity:
            self._queue.clear()
            self._overflowed = True
        if not self._overflowed:
            self._queue.append(event)
        self._arrived.set()

    async def next(self) -> Envelope | None:
        """The next event; None when some were dropped and must be read from the ledger."""
        while True:
            if self._overflowed:
                self._overflowed = False
                return None
            if self._queue:
                return self._queue.popleft()
            self._arrived.clear()
            await self._arrived.wait()


class EventBus:
    """Fan-out to subscriptions; publishing never waits."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    def subscribe(self, owner_id: str, operation_id: str | None, capacity: int) -> Subscription:
        """Follow one owner's events, or one operation's."""
        subscription = Subscription(owner_id, operation_id, capacity)
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop following."""
        self._subscriptions.discard(subscription)

    def publish(self, owner_id: str, event: Envelope) -> None:
        """Hand the event to everyone it concerns."""
        for subscription in self._subscriptions:
            if subscription.owner_id == owner_id and subscription.operation_id in (None, event.operation_id):
                subscription.offer(event)
