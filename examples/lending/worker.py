"""How does a service get its work done once, whatever crashes? The common loop.

A worker is one member of a consumer group. It reads events, hands each to a
handler, and relies on two rules:

* At least once: an event stays pending until the transaction that carries it
  out acknowledges it. A worker that starts again reads its own pending events
  first, and takes over (XAUTOCLAIM) those of members that have fallen silent.
* At most once: every step of a ticket WATCHes the ticket's state, and runs only
  from the state it expects. Whoever comes second finds the step done.
"""

import asyncio
import signal
from typing import Awaitable, Callable, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError, ResponseError, TimeoutError, WatchError

import keys


class Event(NamedTuple):
    stream: str
    id: str
    fields: dict[str, str]


class Malformed(Exception):
    """The event does not say what its stream promises."""


Plan = Callable[[Pipeline], Awaitable[None]]


class Worker:
    """Base of the services: subclasses name a GROUP and fill `self.handlers`."""

    GROUP = ""

    def __init__(self, redis: Redis, name: str, pace: float = 0.0, patience: float = 5.0):
        """`pace`: seconds that a step takes by hand. `patience`: seconds that a
        pending event of another worker may rest before this one takes it over."""
        self.redis = redis
        self.name = name
        self.pace = pace
        self.patience = patience
        self.stopping = asyncio.Event()
        self.handlers: dict[str, Callable[[Event], Awaitable[None]]] = {}

    async def run(self) -> None:
        """Serves until `stopping` is set; outlives restarts of the server."""
        while not self.stopping.is_set():
            try:
                await self._join_groups()
                await self._serve()
            except (ConnectionError, TimeoutError) as lost:
                print(f"{self.name}: lost the server ({lost}), trying again", flush=True)
                await asyncio.sleep(0.2)

    async def once(self, event: Event, ticket: str, expected: str | None, plan: Plan, *watched: str) -> None:
        """Runs `plan` in one transaction with the acknowledgement of `event`,
        if the ticket is in the state `expected` (None: unheard of).

        The plan may read first; it then calls `tx.multi()` and queues its writes.
        It is run again from the start when a watched key has changed meanwhile.
        """
        async with self.redis.pipeline(transaction=True) as tx:
            while True:
                try:
                    await tx.watch(keys.ticket(ticket), *watched)
                    if await tx.hget(keys.ticket(ticket), "state") == expected:
                        await plan(tx)
                    else:
                        tx.multi()  # another worker was faster: only tidy up
                    self.done(tx, event)
                    await tx.execute()
                    return
                except WatchError:  # also what the client makes of a connection lost meanwhile
                    await tx.reset()

    def done(self, tx: Pipeline, event: Event) -> None:
        """Queues the acknowledgement, and takes the event off the to-do list."""
        tx.xack(event.stream, self.GROUP, event.id)
        tx.xdel(event.stream, event.id)

    async def _join_groups(self) -> None:
        for stream in self.handlers:
            try:
                await self.redis.xgroup_create(stream, self.GROUP, id="0", mkstream=True)
            except ResponseError as e:
                if not str(e).startswith("BUSYGROUP"):
                    raise

    async def _serve(self) -> None:
        print(f"{self.name}: ready", flush=True)
        while mine := await self._read("0", block=None):  # left over from an earlier life
            await self._handle(mine)
        clock = asyncio.get_running_loop()
        look_around = clock.time()
        while not self.stopping.is_set():
            if clock.time() >= look_around:
                await self._take_over()
                look_around = clock.time() + self.patience / 2
            await self._handle(await self._read(">", block=min(1000, int(self.patience * 500))))

    async def _read(self, after: str, block: int | None) -> list[Event]:
        streams = {stream: after for stream in self.handlers}
        reply = await self.redis.xreadgroup(self.GROUP, self.name, streams, count=10, block=block)
        return [Event(stream, id, fields) for stream, entries in reply for id, fields in entries]

    async def _take_over(self) -> None:
        for stream in self.handlers:
            cursor = "0-0"
            while True:
                cursor, entries, *_ = await self.redis.xautoclaim(
                    stream, self.GROUP, self.name, int(self.patience * 1000), cursor, count=10
                )
                if entries:
                    print(f"{self.name}: took over {len(entries)} of {stream}", flush=True)
                await self._handle([Event(stream, id, fields) for id, fields in entries])
                if cursor == "0-0":
                    break

    async def _handle(self, events: list[Event]) -> None:
        await asyncio.gather(*(self._handle_one(event) for event in events))

    async def _handle_one(self, event: Event) -> None:
        await asyncio.sleep(self.pace)
        try:
            await self.handlers[event.stream](event)
        except Malformed as reason:
            async with self.redis.pipeline(transaction=True) as tx:
                about = {"stream": event.stream, "id": event.id, "reason": str(reason)}
                tx.xadd(keys.REJECTED, about, maxlen=1000)
                self.done(tx, event)
                await tx.execute()


def field(event: Event, name: str) -> str:
    """The named field of an event, or `Malformed`."""
    value = (event.fields or {}).get(name)
    if not value:
        raise Malformed(f"no {name}")
    return value


async def serve(*workers: Worker) -> None:
    """Runs the workers until SIGTERM or SIGINT asks them to finish."""

    def stop() -> None:
        for worker in workers:
            worker.stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await asyncio.gather(*(worker.run() for worker in workers))
