"""Who gets which book? The service at the desk.

    request --take--> [reserving] --shelving fetches--> [reserved] --settle--> [lent]
                                                                         \\--> [refused]
    return  --take_back--> [returned]

The words in brackets are states of the ticket. A request first puts aside what
is on the quick shelf, asks shelving for the rest, and is settled when that has
answered: all that was found is lent, unless the reader would have too many.
"""

import json
import pathlib

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

import keys
from worker import Event, Malformed, Worker, field

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "lua" / "lending"


class Lending(Worker):
    GROUP = "lending"

    def __init__(self, redis: Redis, name: str, **habits: float):
        super().__init__(redis, name, **habits)
        # A registered script is run by EVALSHA; the client loads it again if the
        # server, newly started, has never heard of it.
        self.give_back = redis.register_script((SCRIPTS / "give_back.lua").read_text())
        self.top_up = redis.register_script((SCRIPTS / "top_up.lua").read_text())
        self.load_trolley = redis.register_script((SCRIPTS / "load_trolley.lua").read_text())
        self.handlers = {
            keys.REQUESTS: self.take,
            keys.FETCHED: self.settle,
            keys.RETURNS: self.take_back,
        }

    async def take(self, event: Event) -> None:
        """A reader asks for books: put aside what the quick shelf has."""
        number, reader, books = keys.number(event.stream, event.id), field(event, "reader"), books_of(event)

        async def plan(tx: Pipeline) -> None:
            tx.multi()
            for book in books:
                tx.smove(keys.COUNTER, keys.hold(number), book)
            about = {"state": "reserving", "reader": reader, "books": json.dumps(books)}
            tx.hset(keys.ticket(number), mapping=about)
            tx.xadd(keys.FETCHES, {"ticket": number, "books": json.dumps(books)})

        await self.once(event, number, None, plan)

    async def settle(self, event: Event) -> None:
        """All that can be found is on hold: lend it, or put it back."""
        number = field(event, "ticket")
        reader = await self.redis.hget(keys.ticket(number), "reader")
        if reader is None:
            raise Malformed("no such ticket")

        async def plan(tx: Pipeline) -> None:
            held = sorted(await tx.smembers(keys.hold(number)))
            has = int(await tx.get(keys.in_hand(reader)) or 0)
            tx.multi()
            if not held:
                self.finish(tx, number, "refused", [], "none of these books is in")
            elif has + len(held) > keys.MOST_BOOKS:
                await self.put_away(tx, number)
                self.finish(tx, number, "refused", [], f"{has} books in hand, {len(held)} more are too many")
            else:
                tx.incrby(keys.in_hand(reader), len(held))
                tx.hset(keys.LENT, mapping={book: reader for book in held})
                tx.unlink(keys.hold(number))
                self.finish(tx, number, "lent", held)

        # The reader's counter is watched, so that two requests of one reader
        # that are settled at the same time cannot both believe in free hands.
        await self.once(event, number, "reserved", plan, keys.in_hand(reader))

    async def take_back(self, event: Event) -> None:
        """A reader brings books: three scripts in one transaction."""
        number, reader, books = keys.number(event.stream, event.id), field(event, "reader"), books_of(event)

        async def plan(tx: Pipeline) -> None:
            lent_to = await tx.hmget(keys.LENT, books)
            theirs = [book for book, who in zip(books, lent_to) if who == reader]
            tx.multi()
            places = [keys.LENT, keys.hold(number), keys.in_hand(reader)]
            await self.give_back(keys=places, args=[reader, *books], client=tx)
            await self.put_away(tx, number)
            self.finish(tx, number, "returned", theirs)

        await self.once(event, number, None, plan, keys.in_hand(reader))

    async def put_away(self, tx: Pipeline, number: str) -> None:
        """Queues the way back of held books: quick shelf first, else the trolley."""
        await self.top_up(keys=[keys.hold(number), keys.COUNTER], args=[keys.COUNTER_ROOM], client=tx)
        await self.load_trolley(keys=[keys.hold(number), keys.TROLLEY, keys.RESHELVE], client=tx)

    def finish(self, tx: Pipeline, number: str, state: str, books: list[str], note: str = "") -> None:
        """Queues the end of a ticket, and wakes whoever waits for it."""
        about = {"state": state, "books": json.dumps(books), "note": note}
        tx.hset(keys.ticket(number), mapping=about)
        tx.hincrby(keys.ticket(number), "finished", 1)  # more than 1 would be a bug
        tx.expire(keys.ticket(number), keys.KEEP_TICKETS)
        tx.lpush(keys.answer(number), state)
        tx.expire(keys.answer(number), 60)


def books_of(event: Event) -> list[str]:
    """The books that an event names, each once."""
    try:
        books = json.loads(field(event, "books"))
    except ValueError:
        raise Malformed("books are not JSON") from None
    if not isinstance(books, list) or not books or not all(isinstance(b, str) and b for b in books):
        raise Malformed("books are not a list of names")
    return list(dict.fromkeys(books))
