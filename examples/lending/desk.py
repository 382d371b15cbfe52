"""What a reader does: borrow, return, look. Also how the library gets its books."""

import argparse
import asyncio
import json
import sys

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

import keys
from lending import SCRIPTS

FINAL = {"lent", "refused", "returned"}


class Desk:
    """The readers' side of the streams."""

    def __init__(self, redis: Redis):
        self.redis = redis
        self.audit_script = redis.register_script((SCRIPTS / "audit.lua").read_text())

    async def stock(self, books: list[str]) -> int:
        """The library acquires books; those it has already stay where they are."""

        async def plan(tx: Pipeline) -> list[str]:
            known = await tx.smismember(keys.CATALOGUE, books)
            new = [book for book, ours in zip(books, known) if not ours]
            tx.multi()
            if new:
                tx.sadd(keys.CATALOGUE, *new)
                tx.sadd(keys.STACKS, *new)
            return new

        new = await self.redis.transaction(plan, keys.CATALOGUE, value_from_callable=True)
        return len(new)

    async def ask(self, stream: str, reader: str, books: list[str]) -> str:
        """Hands in a request or a return; the number of its ticket."""
        event_id = await self.redis.xadd(stream, {"reader": reader, "books": json.dumps(books)})
        return keys.number(stream, event_id)

    async def wait(self, number: str, seconds: float = 10.0) -> dict | None:
        """The finished ticket, or None when it is not finished in time.

        The list only wakes us: the ticket is what counts, and can be read again.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            about = await self.redis.hgetall(keys.ticket(number))
            if about.get("state") in FINAL:
                about["books"] = json.loads(about["books"])
                return about
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return None
            await self.redis.brpop([keys.answer(number)], timeout=min(left, 1.0))

    async def audit(self) -> tuple[int, list[str]]:
        """How many books there are, and what is wrong with them at this instant."""
        places = [keys.CATALOGUE, keys.STACKS, keys.COUNTER, keys.TROLLEY, keys.LENT]
        owned, *complaints = await self.audit_script(keys=places)
        return owned, complaints


async def main() -> int:
    cli = argparse.ArgumentParser(description="Borrow books and bring them back.")
    cli.add_argument("--url", default="redis://127.0.0.1:6379/0")
    todo = cli.add_subparsers(dest="todo", required=True)
    for name in ("borrow", "return"):
        sub = todo.add_parser(name)
        sub.add_argument("reader")
        sub.add_argument("book", nargs="+")
    todo.add_parser("stock", help="add books to the library").add_argument("book", nargs="+")
    todo.add_parser("audit", help="is every book in exactly one place?")
    args = cli.parse_args()

    redis = Redis.from_url(args.url, decode_responses=True)
    desk = Desk(redis)
    try:
        if args.todo == "stock":
            print(f"{await desk.stock(args.book)} new books")
            return 0
        if args.todo == "audit":
            owned, complaints = await desk.audit()
            print("\n".join([f"{owned} books, {len(complaints)} complaints", *complaints]))
            return 1 if complaints else 0
        stream = keys.REQUESTS if args.todo == "borrow" else keys.RETURNS
        number = await desk.ask(stream, args.reader, args.book)
        finished = await desk.wait(number)
        if finished is None:
            print(f"ticket {number}: no answer yet; are the services running?")
            return 1
        print(f"ticket {number}: {finished['state']} {' '.join(finished['books'])}{finished.get('note', '')}")
        return 0
    finally:
        await redis.aclose()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
