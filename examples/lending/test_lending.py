"""Is a book ever lost, or lent twice? Runs the library and kills its workers.

    python3 test_lending.py --server redis-server
    python3 test_lending.py --server target/release/peregrine --io-threads 8

Readers borrow and return at random, by a seed. Meanwhile an auditor asks again
and again, at one instant each time, whether every book is in exactly one place.
A lending worker and a shelving worker are killed (SIGKILL) while they have work
in hand; one is replaced under a new name, which must take over the old one's
work, and one comes back under its own. A third is frozen until others have
taken over its work, and then goes on with it, too late. Last, the server itself is killed with
its log fsynced (appendfsync always), and started again. In the end every ticket
has been carried out once, nothing is pending, and every book is back.
"""

import argparse
import asyncio
import collections
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

from redis.asyncio import Redis
from redis.exceptions import ConnectionError, TimeoutError

import keys
from desk import Desk

HERE = pathlib.Path(__file__).resolve().parent
GROUPS = {
    "lending": (keys.REQUESTS, keys.FETCHED, keys.RETURNS),
    "shelving": (keys.FETCHES, keys.RESHELVE),
}


def require(truth: object, what: str) -> None:
    if not truth:
        raise AssertionError(what)


class Server:
    """A server on a port of its own, with a directory that outlives its crashes."""

    def __init__(self, binary: str, io_threads: int | None):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.dir = tempfile.mkdtemp(prefix="lending-")
        self.command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.dir,
                        "--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        if io_threads is not None:
            self.command += ["--io-threads", str(io_threads)]
        self.process: subprocess.Popen | None = None

    async def start(self) -> None:
        with open(f"{self.dir}/server.log", "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        redis = Redis.from_url(self.url)
        for _ in range(200):
            require(self.process.poll() is None, f"the server does not start:\n{self.log()}")
            try:
                await redis.ping()
                break
            except (ConnectionError, OSError):
                await asyncio.sleep(0.05)
        else:
            raise AssertionError(f"the server does not answer:\n{self.log()}")
        await redis.aclose()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        return pathlib.Path(self.dir, "server.log").read_text(errors="replace")[-3000:]

    def remove(self) -> None:
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


class Workers:
    """The services' processes, by name."""

    def __init__(self, url: str, pace: float):
        self.url, self.pace, self.running = url, pace, {}

    def start(self, service: str, name: str) -> None:
        self.running[name] = subprocess.Popen(
            [sys.executable, str(HERE / "serve.py"), service, "--name", name, "--url", self.url,
             "--pace", str(self.pace), "--patience", "1"])

    def kill(self, name: str) -> None:
        worker = self.running.pop(name)
        worker.kill()
        worker.wait()

    def signal(self, name: str, number: int) -> None:
        self.running[name].send_signal(number)

    def stop_all(self) -> None:
        for worker in self.running.values():
            worker.terminate()
        for name, worker in self.running.items():
            require(worker.wait(timeout=20) == 0, f"{name} ended with {worker.returncode}")
        self.running.clear()

    def remove(self) -> None:
        for name in list(self.running):
            self.kill(name)


class Library:
    """What the readers have seen so far, kept apart from what the server says."""

    def __init__(self, desk: Desk, books: list[str], rng: random.Random):
        self.desk, self.books, self.rng = desk, books, rng
        self.has: dict[str, set[str]] = collections.defaultdict(set)
        self.answers = collections.Counter()
        self.audits = 0
        self.asking = 0  # requests on their way: sent, and not yet given a ticket
        self.open = asyncio.Event()  # cleared while readers are to wait outside
        self.open.set()
        self.closed = False

    async def reader(self, name: str, visits: int) -> None:
        rng = random.Random(f"{name}{self.rng.random()}")
        for _ in range(visits):
            await self.open.wait()
            if self.has[name] and rng.random() < 0.45:
                mine = sorted(self.has[name])
                await self.give_back(name, rng.sample(mine, rng.randint(1, len(mine))))
            elif rng.random() < 0.15:  # two requests at once: the limit must hold for both
                await asyncio.gather(*(self.borrow(name, rng.sample(self.books, 3)) for _ in range(2)))
            else:
                await self.borrow(name, rng.sample(self.books, rng.randint(1, 4)))
        await self.open.wait()
        if self.has[name]:
            await self.give_back(name, sorted(self.has[name]))

    async def borrow(self, name: str, wanted: list[str]) -> None:
        finished = await self.answered(await self.ask(keys.REQUESTS, name, wanted))
        got = set(finished["books"])
        require(finished["state"] in ("lent", "refused"), f"a request was {finished['state']}")
        require(got <= set(wanted), f"{name} got {got}, asked for {wanted}")
        for other, theirs in self.has.items():
            require(not got & theirs, f"{got & theirs} lent to {name}, yet {other} has it")
        self.has[name] |= got
        require(len(self.has[name]) <= keys.MOST_BOOKS, f"{name} has {self.has[name]}")

    async def give_back(self, name: str, books: list[str]) -> None:
        self.has[name] -= set(books)  # from now on others may get them
        finished = await self.answered(await self.ask(keys.RETURNS, name, books))
        require(finished["state"] == "returned", f"a return was {finished['state']}")
        require(set(finished["books"]) == set(books), f"{name} returned {books}: {finished}")

    async def answered(self, number: str) -> dict:
        for _ in range(60):
            try:
                finished = await self.desk.wait(number, seconds=2.0)
            except (ConnectionError, TimeoutError, OSError):
                await asyncio.sleep(0.1)  # the server is away; the ticket is not lost
                continue
            if finished:
                self.answers[finished["state"]] += 1
                return finished
        raise AssertionError(f"ticket {number} was never answered")

    async def ask(self, stream: str, name: str, books: list[str]) -> str:
        self.asking += 1
        try:
            return await self.desk.ask(stream, name, books)
        finally:
            self.asking -= 1

    async def auditor(self) -> None:
        while not self.closed:
            try:
                owned, complaints = await self.desk.audit()
            except (ConnectionError, TimeoutError, OSError):
                await asyncio.sleep(0.1)
                continue
            require(not complaints, f"audit: {complaints}")
            require(owned == len(self.books), f"audit: {owned} books of {len(self.books)}")
            self.audits += 1
            await asyncio.sleep(0.01)


async def pending_of(redis: Redis, group: str, consumer: str) -> int:
    """How many events the consumer has read and not carried out."""
    total = 0
    for stream in GROUPS[group]:
        total += len(await redis.xpending_range(stream, group, "-", "+", 1000, consumername=consumer))
    return total


async def kill_at_work(redis: Redis, workers: Workers, group: str, name: str) -> int:
    """Kills a worker that has events in hand; how many it leaves behind."""
    while not all([await redis.exists(stream) for stream in GROUPS[group]]):
        await asyncio.sleep(0.01)  # the workers have not opened yet
    for _ in range(100):
        while not await pending_of(redis, group, name):
            await asyncio.sleep(0.001)
        workers.kill(name)
        if left := await pending_of(redis, group, name):
            return left
        workers.start(group, name)  # it had just finished: another time
        await asyncio.sleep(0.3)
    raise AssertionError(f"{name} never had work in hand when it was killed")


async def freeze_at_work(redis: Redis, workers: Workers, group: str, name: str) -> int:
    """Stops a worker with events in hand, until others have carried them out."""
    for _ in range(100):
        while not await pending_of(redis, group, name):
            await asyncio.sleep(0.001)
        workers.signal(name, signal.SIGSTOP)
        await asyncio.sleep(0.01)
        if in_hand := await pending_of(redis, group, name):
            break
        workers.signal(name, signal.SIGCONT)
    for _ in range(1000):
        await asyncio.sleep(0.01)
        if not await pending_of(redis, group, name):
            break
    workers.signal(name, signal.SIGCONT)
    return in_hand


async def crash_everything(server: Server, redis: Redis, library: Library, workers: Workers) -> dict:
    """The accidents, one after the other, while readers come and go."""
    crashes = {}
    await asyncio.sleep(1.0)
    crashes["lending worker"] = await kill_at_work(redis, workers, "lending", "desk-1")
    workers.start("lending", "desk-3")  # a new name: it must take over
    await asyncio.sleep(2.0)
    crashes["shelving worker"] = await kill_at_work(redis, workers, "shelving", "stacks-1")
    await asyncio.sleep(0.2)
    workers.start("shelving", "stacks-1")  # its own name: it finds its own pending work
    await asyncio.sleep(0.5)
    crashes["frozen worker"] = await freeze_at_work(redis, workers, "lending", "desk-2")
    await asyncio.sleep(1.0)

    library.open.clear()  # readers inside wait for their answers, nobody new comes in
    require((await redis.info("persistence"))["aof_enabled"] == 1, "the server keeps no log")
    while library.asking:
        await asyncio.sleep(0.001)
    crashes["server"] = sum([await redis.xlen(stream) for group in GROUPS.values() for stream in group])
    server.kill()
    await asyncio.sleep(0.3)
    await server.start()
    await redis.connection_pool.disconnect(inuse_connections=False)  # what is pooled leads to the old process
    library.open.set()
    return crashes


async def nothing_left(redis: Redis) -> None:
    """Everything is acknowledged, delivered and deleted, within ten seconds."""
    left = "?"
    for _ in range(200):
        left = {}
        for group, streams in GROUPS.items():
            for stream in streams:
                pending = (await redis.xpending(stream, group))["pending"]
                about = [g for g in await redis.xinfo_groups(stream) if g["name"] == group]
                if pending or await redis.xlen(stream) or about[0].get("lag"):
                    left[stream] = (pending, await redis.xlen(stream), about[0].get("lag"))
        if not left:
            break
        await asyncio.sleep(0.05)
    require(not left, f"left over (pending, length, lag): {left}")


async def closing(redis: Redis, library: Library) -> None:
    """The doors are shut: is everything where it belongs?"""
    await nothing_left(redis)
    owned, complaints = await library.desk.audit()
    require(not complaints and owned == len(library.books), f"at the end: {complaints}")
    require(await redis.hlen(keys.LENT) == 0, "somebody still has a book")
    require(await redis.scard(keys.TROLLEY) == 0, "the trolley is not empty")
    counter = await redis.smembers(keys.COUNTER)
    require(len(counter) <= keys.COUNTER_ROOM, f"{len(counter)} books on the counter")
    require(counter | await redis.smembers(keys.STACKS) == set(library.books), "books are missing")
    for key in [key async for key in redis.scan_iter(match="library:reader:*", count=100)]:
        require(await redis.get(key) == "0", f"{key} is not 0")
    tickets = {key async for key in redis.scan_iter(match="library:ticket:*", count=100)}
    require(len(tickets) == library.answers.total(), f"{len(tickets)} tickets, {library.answers}")
    for key in tickets:
        require(await redis.hget(key, "finished") == "1", f"{key} was not carried out once")
    require([key async for key in redis.scan_iter(match="library:hold:*")] == [], "holds are left")
    require(await redis.exists(keys.REJECTED) == 0, "events were rejected")


async def first_trouble(tasks: set[asyncio.Future], limit: float, library: Library) -> None:
    """Waits for the visits, then for the auditor; raises what went wrong first."""
    done, late = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=limit)
    library.closed = True
    try:
        require(done, f"not done within {limit} s")
        for task in [*done, *late]:
            await task
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def run(args: argparse.Namespace) -> None:
    server = Server(args.server, args.io_threads)
    workers = Workers(server.url, args.pace)
    redis = Redis.from_url(server.url, decode_responses=True)
    try:
        await server.start()
        books = [f"book-{i}" for i in range(args.books)]
        library = Library(Desk(redis), books, random.Random(args.seed))
        require(await library.desk.stock(books) == len(books), "stocking failed")
        for service, name in (("lending", "desk-1"), ("lending", "desk-2"),
                              ("shelving", "stacks-1"), ("shelving", "stacks-2")):
            workers.start(service, name)

        auditor = asyncio.create_task(library.auditor())
        accidents = asyncio.create_task(crash_everything(server, redis, library, workers))
        readers = [asyncio.create_task(library.reader(f"reader-{i}", args.visits)) for i in range(args.readers)]
        visits = asyncio.gather(*readers, accidents)
        await first_trouble({visits, auditor}, args.limit, library)
        await closing(redis, library)
        workers.stop_all()

        require(library.answers["lent"] and library.answers["refused"] and library.answers["returned"],
                f"too little happened: {library.answers}")
        require(all(accidents.result().values()), f"an accident hit nobody: {accidents.result()}")
        print(f"answers: {dict(library.answers)}; audits: {library.audits}; "
              f"events in hand at each crash: {accidents.result()}")
        print("lending: no book lost, none lent twice, nothing left undone")
    except BaseException:
        print(f"--- the server's log ---\n{server.log()}", file=sys.stderr)
        raise
    finally:
        await redis.aclose()
        workers.remove()
        server.remove()


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--server", default="redis-server", help="the server's binary")
    cli.add_argument("--io-threads", type=int, default=None, help="passed on when given")
    cli.add_argument("--readers", type=int, default=16)
    cli.add_argument("--visits", type=int, default=25, help="requests and returns of each reader")
    cli.add_argument("--books", type=int, default=60)
    cli.add_argument("--pace", type=float, default=0.05, help="seconds that each step of a worker takes")
    cli.add_argument("--seed", type=int, default=1)
    cli.add_argument("--limit", type=float, default=120.0, help="seconds until it is given up")
    asyncio.run(run(cli.parse_args()))


if __name__ == "__main__":
    main()
