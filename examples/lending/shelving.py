"""Where are the books that are not at the desk? The service in the stacks.

    fetches  --fetch-->   moves books from the stacks into the ticket's hold
    reshelve --reshelve-> moves books from the trolley into the stacks
"""

from redis.asyncio.client import Pipeline
from redis.asyncio import Redis

import keys
from lending import books_of
from worker import Event, Worker, field


class Shelving(Worker):
    GROUP = "shelving"

    def __init__(self, redis: Redis, name: str, **habits: float):
        super().__init__(redis, name, **habits)
        self.handlers = {keys.FETCHES: self.fetch, keys.RESHELVE: self.reshelve}

    async def fetch(self, event: Event) -> None:
        """The desk wants books: hold those that are in the stacks."""
        number, books = field(event, "ticket"), books_of(event)

        async def plan(tx: Pipeline) -> None:
            tx.multi()
            for book in books:
                tx.smove(keys.STACKS, keys.hold(number), book)
            tx.hset(keys.ticket(number), "state", "reserved")
            tx.xadd(keys.FETCHED, {"ticket": number})

        await self.once(event, number, "reserving", plan)

    async def reshelve(self, event: Event) -> None:
        """Books came back: SMOVE does nothing the second time, so no ticket is needed."""
        books = books_of(event)
        async with self.redis.pipeline(transaction=True) as tx:
            for book in books:
                tx.smove(keys.TROLLEY, keys.STACKS, book)
            self.done(tx, event)
            await tx.execute()
