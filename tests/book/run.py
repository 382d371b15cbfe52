"""Does the book's own program run here, unchanged, as it does on Redis?

    git clone https://github.com/RedisLabs/redis-microservices-for-dummies book
    python3 tests/book/run.py --book ./book --server target/release/peregrine --against redis-server

The program of chapter 5 of *Redis Microservices for Dummies* is not part of this
repository; this script takes the path to a checkout. It runs the services with
Python 3.8 and aioredis 1.3.1 (which the program was written for), feeds them a
fixed sequence of requests, with a crash and a shutdown in between, and prints what
they said and what the server then holds, with event ids replaced by ordinals. With
`--against`, it does the same on a second server and compares. A last part, with
two workers at once, is not deterministic, and is checked by its invariants only.
"""

import argparse
import difflib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

REQUESTS, RETURNS = "lending_requests_event_stream", "book_return_requests_event_stream"
SHELVING = "books_for_shelving_event_stream"
GROUP_OF = {REQUESTS: "lending_service", RETURNS: "lending_service", SHELVING: "shelving_service"}
PATIENCE = 30.0  # seconds for anything to happen


class Resp:
    """As much of a client as this script needs: RESP2 over one socket."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.file = self.socket.makefile("rb")

    def __call__(self, *words):
        parts = [str(w).encode() for w in words]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        return self.read()

    def read(self):
        line = self.file.readline().decode().rstrip("\r\n")
        kind, rest = line[:1], line[1:]
        if kind == "-":
            raise RuntimeError(rest)
        if kind == ":":
            return int(rest)
        if kind == "$":
            return None if rest == "-1" else self.file.read(int(rest) + 2)[:-2].decode()
        if kind == "*":
            return None if rest == "-1" else [self.read() for _ in range(int(rest))]
        return rest


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"timed out: {what}")
        time.sleep(0.01)


class Stage:
    """One server, the book's program on it, and the transcript of what happens."""

    def __init__(self, binary, flags, book, python):
        self.book, self.python, self.lines = book, python, []
        self.dir = tempfile.mkdtemp(prefix="book-")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        with open(f"{self.dir}/server.log", "wb") as log:
            self.server = subprocess.Popen(
                [binary, "--port", str(self.port), "--save", "", "--dir", self.dir, *flags], stdout=log, stderr=log)
        wait_for(self.answers, "the server's start")
        self.redis = Resp(self.port)
        self.workers = {}
        self.ids = {}

    def answers(self):
        if self.server.poll() is not None:
            raise SystemExit(pathlib.Path(self.dir, "server.log").read_text())
        try:
            return Resp(self.port)("PING") == "PONG"
        except OSError:
            return False

    def close(self):
        for worker in self.workers.values():
            worker.kill()
            worker.wait()
        self.server.kill()
        self.server.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    # What the program is told.

    def run_program(self, *words):
        env = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1",
               "PYTHONWARNINGS": "ignore"}
        address = ["-a", f"redis://127.0.0.1:{self.port}"]
        return [self.python, *words, *address], {"cwd": self.book, "env": env}

    def start_worker(self, name, *flags):
        command, options = self.run_program("main.py", *flags, name)
        output = open(self.output_of(name), "ab")
        since = output.tell()
        self.workers[name] = subprocess.Popen(command, stdout=output, stderr=output, **options)
        wait_for(lambda: self.workers[name].poll() is None and self.listening(), f"{name} to listen")
        wait_for(lambda: b"Ready" in pathlib.Path(self.output_of(name)).read_bytes()[since:], f"{name} to be ready")

    def output_of(self, name):
        return f"{self.dir}/{name}.out"

    def listening(self):
        """Two connections of each worker wait in XREADGROUP (or are busy with work)."""
        clients = self.redis("CLIENT", "LIST", "TYPE", "normal")
        blocked = clients.count("cmd=xreadgroup")
        return blocked >= 2 * sum(w.poll() is None for w in self.workers.values())

    def once(self, title, *words):
        """Runs a program of the book to its end and notes what it says."""
        command, options = self.run_program(*words)
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE, **options)
        # At its end the program lets go of open connections, and asyncio grumbles on stderr.
        grumbles = done.stderr.decode().splitlines() if done.returncode not in (0, 1) else []
        self.note(f"{title}: exit {done.returncode}", done.stdout.decode().splitlines() + grumbles)

    def end_worker(self, name, number):
        self.workers[name].send_signal(number)
        if number == signal.SIGINT:  # it looks up only when something arrives
            time.sleep(0.3)
            self.tell(REQUESTS, "nobody", "alice")
            self.redis("XADD", SHELVING, "*", "book_ids", "dune")
        self.workers[name].wait(timeout=PATIENCE)
        self.note(f"{name} ended: {self.workers.pop(name).returncode}", [])

    def tell(self, stream, user, *books):
        time.sleep(0.002)  # no two events in one millisecond, so that their ids differ
        return self.redis("XADD", stream, "*", "user_id", user, "book_ids", ",".join(books))

    # What is noted.

    def note(self, title, lines):
        self.lines += [f"## {title}", *(self.normal(line) for line in lines), ""]

    def normal(self, text):
        def ordinal(match):
            return self.ids.setdefault(match.group(), f"<{len(self.ids) + 1}>")
        return re.sub(r"\bs?\d{13}-\d+\b", ordinal, text)

    def step(self, title, stream, user, *books):
        before = os.path.getsize(self.output_of("worker1"))
        self.tell(stream, user, *books)
        self.settle()
        self.note(title, self.said("worker1", before))

    def said(self, name, since):
        """The new output, complete paragraphs only; the order of books is left to sets."""
        def text():
            with open(self.output_of(name), "rb") as f:
                f.seek(since)
                return f.read().decode()
        wait_for(lambda: text().endswith("\n\n"), "the worker to say something")
        lines = [re.sub(r"^\t\d+\) ", "\t- ", line) for line in text().splitlines()]
        books = iter(sorted(line for line in lines if line.startswith("\t- ")))
        return [next(books) if line.startswith("\t- ") else line for line in lines]

    def settle(self):
        """Waits until every event has been delivered and acknowledged."""
        def quiet():
            for stream, group in GROUP_OF.items():
                last = flat(self.redis("XINFO", "STREAM", stream))["last-generated-id"]
                for about in map(flat, self.redis("XINFO", "GROUPS", stream)):
                    if about["pending"] or about["last-delivered-id"] != last:
                        return False
            return True
        wait_for(quiet, "the services to settle")

    def dataset(self):
        lines = []
        for key in sorted(self.redis("KEYS", "*")):
            kind = self.redis("TYPE", key)
            lines.append(f"{key} ({kind}, ttl {self.redis('TTL', key)})")
            lines += [f"    {line}" for line in self.content(key, kind)]
        return lines

    def content(self, key, kind):
        if kind == "string":
            return [self.redis("GET", key)]
        if kind == "set":
            return sorted(self.redis("SMEMBERS", key))
        if kind == "hash":
            return sorted(f"{f} = {v}" for f, v in flat(self.redis("HGETALL", key)).items())
        entries = [f"{id} {fields}" for id, fields in self.redis("XRANGE", key, "-", "+")]
        for about in map(flat, self.redis("XINFO", "GROUPS", key)):
            entries.append("group " + " ".join(f"{k}={v}" for k, v in about.items()))
            members = map(flat, self.redis("XINFO", "CONSUMERS", key, about["name"]))
            entries += [f"consumer {m['name']} pending={m['pending']}" for m in members]
        if key == SHELVING:  # written in the millisecond of the return that it follows from: tell them apart
            entries = [re.sub(r"\b(\d{13}-\d+)\b", r"s\1", line) for line in entries]
        return entries


def flat(pairs):
    return dict(zip(pairs[::2], pairs[1::2]))


def play(stage):
    """The deterministic part."""
    stage.start_worker("worker1")
    stage.note("started", pathlib.Path(stage.output_of("worker1")).read_text().splitlines())
    stage.once("a second worker of that name", "main.py", "worker1")

    for words in (["request", "ada", "alice", "geb", "dune"], ["return", "ada", "dune"]):
        before = os.path.getsize(stage.output_of("worker1"))
        stage.once(" ".join(words), "get_books.py", *words)
        stage.settle()
        stage.note("the worker says", stage.said("worker1", before))

    stage.step("one is taken, one is in storage", REQUESTS, "bob", "geb", "dune", "gene")
    stage.step("nothing to be had", REQUESTS, "cyd", "geb", "alice")
    stage.step("too many at once", REQUESTS, "cyd", *(f"c{i}" for i in range(6)))
    stage.step("five of those", REQUESTS, "cyd", *(f"c{i}" for i in range(5)))
    stage.step("one too many", REQUESTS, "cyd", "c5")
    stage.step("not hers to return", RETURNS, "cyd", "geb", "c0", "unheard-of")
    for n, user in enumerate(("dan", "eve", "fay", "gil")):
        stage.step(f"{user} takes five", REQUESTS, user, *(f"shelf{n}-{i}" for i in range(5)))
    for n, user in enumerate(("dan", "eve")):
        stage.step(f"{user} returns five", RETURNS, user, *(f"shelf{n}-{i}" for i in range(5)))
    room = 20 - stage.redis("SCARD", "automated_book_storage")
    more = [("fay", f"shelf2-{i}") for i in range(5)] + [("gil", f"shelf3-{i}") for i in range(5)]
    more += [("cyd", f"c{i}") for i in range(1, 5)]
    for user, book in more[:room]:
        stage.step("into storage", RETURNS, user, book)
    for user, book in more[room:]:
        stage.step("storage is full", RETURNS, user, book)
    stage.note("the data so far", stage.dataset())

    crash_and_resume(stage)
    graceful_end(stage)
    stage.note("the data at the end", stage.dataset())


def crash_and_resume(stage):
    """A worker dies between reserving a book and lending it."""
    stage.end_worker("worker1", signal.SIGKILL)
    number = stage.tell(REQUESTS, "hal", "shelf0-0", "brand-new")
    stage.redis("XREADGROUP", "GROUP", "lending_service", "worker1", "STREAMS", REQUESTS, ">")
    stage.redis("SMOVE", "automated_book_storage", f"request:{number}:temp", "shelf0-0")
    since = os.path.getsize(stage.output_of("worker1"))
    stage.once("the lock is still there", "main.py", "worker1")
    stage.start_worker("worker1", "-f")
    stage.settle()
    stage.note("resumed after a crash", stage.said("worker1", since))


def graceful_end(stage):
    """SIGINT: it reads what comes next, leaves it pending, and is asked again."""
    since = os.path.getsize(stage.output_of("worker1"))
    stage.end_worker("worker1", signal.SIGINT)
    stage.note("locks left", stage.redis("KEYS", "instance_lock:*"))
    stage.note("left for later", stage.content(REQUESTS, "stream")[-2:])
    stage.start_worker("worker1")
    stage.settle()
    stage.note("said around the shutdown", stage.said("worker1", since))


def rush(stage):
    """Two workers at once, many readers after few books: invariants only.

    No reader has two requests in flight: when a watched counter changes, the
    program ends, on any server, since it catches an exception by a name that
    aioredis 1.3 does not have. (examples/lending tests that race.)
    """
    for key in ("lent_books", "automated_book_storage", "shelving_service_state", *stage.redis("KEYS", "user:*")):
        stage.redis("DEL", key)
    stage.start_worker("worker2")
    seed = 7
    users = [f"user{i}" for i in range(30)]
    for wave in range(12):
        for user in users:
            seed = (seed * 1103515245 + 12345) % 2**31
            books = {f"b{(seed >> 8) % 60 + i}" for i in range(1 + (seed >> 20) % 4)}
            stage.tell(RETURNS if wave % 3 == 2 else REQUESTS, user, *sorted(books))
        stage.settle()
    lent = flat(stage.redis("HGETALL", "lent_books"))
    counts = {u: int(stage.redis("GET", f"user:{u}:count") or 0) for u in users}
    facts = {
        "every reader's count is right": all(counts[u] == list(lent.values()).count(u) for u in users),
        "nobody has more than five": max(counts.values()) <= 5,
        "something was lent": len(lent) > 0,
        "no reservation is left": stage.redis("KEYS", "*:temp") == [],
        "nothing lent is in storage": not set(lent) & set(stage.redis("SMEMBERS", "automated_book_storage")),
        "storage holds at most twenty": stage.redis("SCARD", "automated_book_storage") <= 20,
    }
    stage.note("two workers at once", [f"{what}: {'yes' if so else 'NO'}" for what, so in facts.items()])


def perform(binary, flags, book, python):
    stage = Stage(binary, flags, book, python)
    try:
        play(stage)
        rush(stage)
        return stage.lines
    except SystemExit:
        print("\n".join(stage.lines))
        for said in sorted(pathlib.Path(stage.dir).glob("*.out")):
            print(f"--- {said.name} ---\n{said.read_text()[-3000:]}")
        raise
    finally:
        stage.close()


def interpreter(wanted, venv):
    """A Python that has aioredis 1.3.1; made in `venv` from python3.8 when none is named."""
    if wanted:
        return os.path.abspath(wanted) if os.sep in wanted else wanted
    python = pathlib.Path(venv, "bin", "python")
    if not python.exists():
        known = [*map(str, pathlib.Path.home().glob(".pyenv/versions/3.8*/bin/python")), "/usr/bin/python3.8"]
        base = next(filter(os.path.exists, known), shutil.which("python3.8"))
        if not base:
            raise SystemExit("no python3.8 here; name one that has aioredis 1.3.1 by --python")
        subprocess.run([base, "-m", "venv", venv], check=True)
        subprocess.run([python, "-m", "pip", "-q", "install", "aioredis==1.3.1"], check=True)
    return str(python)


def main():
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--book", required=True, help="a checkout of the book's program")
    cli.add_argument("--server", required=True)
    cli.add_argument("--flags", default="", help="more arguments for --server, in one string")
    cli.add_argument("--against", help="a second server to compare with")
    cli.add_argument("--python", help="a Python that has aioredis 1.3.1")
    cli.add_argument("--venv", default=str(pathlib.Path(tempfile.gettempdir(), "book-python38")))
    args = cli.parse_args()
    book, python = os.path.abspath(args.book), interpreter(args.python, args.venv)

    ours = perform(args.server, args.flags.split(), book, python)
    if any(line.endswith(": NO") for line in ours):
        print("\n".join(ours))
        return 1
    if not args.against:
        print("\n".join(ours))
        return 0
    theirs = perform(args.against, [], book, python)
    difference = list(difflib.unified_diff(theirs, ours, args.against, args.server, lineterm=""))
    print("\n".join(difference) or f"book: {len(ours)} lines of output and data, the same on both")
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main())
