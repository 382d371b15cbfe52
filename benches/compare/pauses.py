"""What do snapshots, the log, growth, large values that go, and crowds cost the other clients?

Each of these has a course of its own; each reports named figures, of which the
ratio to the reference server is printed beside the figure itself.
"""

import dataclasses
import multiprocessing
import socket
import threading
import time

from load import redis_benchmark
from rows import MILLION, Load, one_hash, one_list, one_set, one_stream, one_zset, strings
from servers import Client, Server

OVERWRITE = Load("overwrite", ["SET", "key:__rand_int__", "y" * 200], 16, None)
IDLE = 10_000

# Commands that make one large value of `n` elements under the name of its type; and a tenth as many small strings.
BIG = {"hash": one_hash, "set": one_set, "zset": one_zset, "list": one_list, "stream": one_stream,
       "keys": lambda n: strings(n // 10)}


class Prober(threading.Thread):
    """A lone client that asks PING again and again, and keeps how long each took."""

    def __init__(self, port: int):
        super().__init__(daemon=True)
        self.client, self.times, self.ending = Client(port), [], False

    def run(self) -> None:
        while not self.ending:
            start = time.perf_counter()
            self.client("PING")
            self.times.append(time.perf_counter() - start)
            time.sleep(0.0002)

    def end(self) -> tuple[float, float]:
        """p99.9 and the longest, in milliseconds."""
        self.ending = True
        self.join()
        self.client.close()
        ordered = sorted(self.times)
        return ordered[int(len(ordered) * 0.999)] * 1e3, ordered[-1] * 1e3


class Watch(threading.Thread):
    """The most memory that a server and its children have held."""

    def __init__(self, server: Server):
        super().__init__(daemon=True)
        self.server, self.most, self.ending = server, 0, False

    def run(self) -> None:
        while not self.ending:
            self.most = max(self.most, self.server.family_memory())
            time.sleep(0.02)

    def end(self) -> int:
        self.ending = True
        self.join()
        return self.most


class Pauses:
    """The courses; `start(name, flags)` gives a fresh server of that name."""

    def __init__(self, start, cores: str, load_cores: str, scale: int, requests: int):
        self.start, self.cores, self.load_cores = start, cores, load_cores
        self.scale, self.requests = scale, requests

    def run(self, row: str, name: str) -> dict[str, float]:
        return getattr(self, row.replace("-", "_"))(name)

    def load(self, server: Server, row: Load, requests: int):
        return redis_benchmark(server, row, requests, self.scale, self.cores, self.load_cores)

    def snapshot(self, name: str) -> dict[str, float]:
        """BGSAVE of a data set that is being overwritten all the while."""
        server = self.start(name, [])
        try:
            server.client.feed((b"SET", b"key:%012d" % i, b"x" * 200) for i in range(self.scale))
            overwrite = dataclasses.replace(OVERWRITE, keyspace=self.scale)
            quiet = self.load(server, overwrite, self.requests)
            before = server.family_memory()
            saved = server.client("LASTSAVE")
            time.sleep(1.1)  # LASTSAVE counts seconds
            watch, prober = Watch(server), Prober(server.port)
            watch.start()
            prober.start()
            server.client("BGSAVE")
            start = time.monotonic()
            busy = []
            while server.client("LASTSAVE") == saved and time.monotonic() - start < 120:
                busy.append(self.load(server, overwrite, max(self.requests // 10, 1000)))
            p999, longest = prober.end()
            rate, added = sum(run.rps for run in busy) / len(busy), watch.end() - before
            return {"throughput lost, %": max(0.0, (1 - rate / quiet.rps) * 100), "probe p99.9, ms": p999,
                    "longest pause, ms": longest, "memory before, MB": before / 2**20,
                    "peak memory added, MB": added / 2**20, "peak memory added, %": added / before * 100,
                    "seconds": time.monotonic() - start}
        finally:
            server.stop()

    def snapshot_big_values(self, name: str) -> dict[str, float]:
        """BGSAVE while values of a million elements (or the scale, if that is less) are changed before they have been saved."""
        changes = {"hash": ("HSET", "hash", "field:000000000001", "changed"), "set": ("SREM", "set", "mem:000000000001"),
                   "zset": ("ZADD", "zset", "-1", "mem:000000000001"), "list": ("LSET", "list", "7", "changed"),
                   "stream": ("XADD", "stream", "*", "f", "v")}
        server, figures = self.start(name, []), {}
        try:
            for data in (one_hash, one_set, one_zset, one_list, one_stream):
                server.client.feed(data(min(self.scale, MILLION)))
            for key, change in changes.items():
                saved = server.client("LASTSAVE")
                time.sleep(1.1)  # LASTSAVE counts seconds
                prober = Prober(server.port)
                prober.start()
                server.client("BGSAVE")
                start = time.perf_counter()
                server.client(*change)
                figures[f"{key}: change took, ms"] = (time.perf_counter() - start) * 1e3
                while server.client("LASTSAVE") == saved and time.perf_counter() - start < 120:
                    time.sleep(0.01)
                figures[f"{key}: longest pause of others, ms"] = prober.end()[1]
            return figures
        finally:
            server.stop()

    def log_cost(self, name: str, policy: str, pipeline: int) -> dict[str, float]:
        row = Load("set", ["SET", "key:__rand_int__", "x" * 64], pipeline, None)
        figures = []
        for flags in ([], ["--appendonly", "yes", "--appendfsync", policy]):
            server = self.start(name, flags)
            try:
                self.load(server, row, self.requests // 5)
                figures.append(self.load(server, row, self.requests))
            finally:
                server.stop()
        off, on = figures
        return {"throughput without, /s": off.rps, "throughput with, /s": on.rps,
                "throughput lost, %": (1 - on.rps / off.rps) * 100, "CPU with, us": on.cpu_us, "p99.9, ms": on.p999}

    def aof_everysec(self, name: str) -> dict[str, float]:
        """SET at pipeline 16 with the log on, fsync each second."""
        return self.log_cost(name, "everysec", 16)

    def aof_always(self, name: str) -> dict[str, float]:
        """SET without pipelining, 50 clients, each reply after its fsync."""
        return self.log_cost(name, "always", 1)

    def growth(self, name: str) -> dict[str, float]:
        """New keys only, from none to twenty times the scale: does the table's growth stall anyone?"""
        server = self.start(name, [])
        row = Load("grow", ["SET", "key:__rand_int__", "x"], 16, None, keyspace=10**12 - 1)
        prober = Prober(server.port)
        try:
            prober.start()
            run = self.load(server, row, self.scale * 20)
            p999, longest = prober.end()
            return {"throughput, /s": run.rps, "probe p99.9, ms": p999, "longest pause, ms": longest}
        finally:
            server.stop()

    # Everything below asks: what do the others notice while one client, or time, does something large?

    def disturb(self, server: Server, act, over=None, patience: float = 30) -> dict[str, float]:
        """Probes while `act` runs and until `over` says that its consequences have come to an end."""
        prober = Prober(server.port)
        prober.start()
        time.sleep(0.5)
        start = time.perf_counter()
        act()
        took = time.perf_counter() - start
        while over and not over() and time.perf_counter() - start < patience:
            time.sleep(0.02)
        lasted = time.perf_counter() - start
        time.sleep(0.5)
        p999, longest = prober.end()
        figures = {"the command took, ms": took * 1e3, "probe p99.9, ms": p999, "longest pause, ms": longest}
        return {**figures, "all done after, s": lasted} if over else figures

    def big(self, name: str, kind: str, *words) -> dict[str, float]:
        """One value of ten times the scale, and a command that makes it go."""
        server = self.start(name, [])
        try:
            before = server.resident()
            server.client.feed(BIG[kind](self.scale * 10))
            full = server.resident() - before
            gone = lambda: server.resident() - before < full * 0.05
            return self.disturb(server, lambda: server.client(*words), gone, patience=10)
        finally:
            server.stop()

    def big_delete(self, name: str) -> dict[str, float]:
        """DEL of a large hash; "all done" is when its memory has gone back to the system."""
        return self.big(name, "hash", "DEL", "hash")

    def big_delete_set(self, name: str) -> dict[str, float]:
        return self.big(name, "set", "DEL", "set")

    def big_delete_zset(self, name: str) -> dict[str, float]:
        return self.big(name, "zset", "DEL", "zset")

    def big_delete_list(self, name: str) -> dict[str, float]:
        return self.big(name, "list", "DEL", "list")

    def big_delete_stream(self, name: str) -> dict[str, float]:
        return self.big(name, "stream", "DEL", "stream")

    def big_expire(self, name: str) -> dict[str, float]:
        """A large hash whose time is over."""
        return self.big(name, "hash", "PEXPIRE", "hash", "1")

    def big_overwrite(self, name: str) -> dict[str, float]:
        """A large hash that becomes a short string."""
        return self.big(name, "hash", "SET", "hash", "x")

    def flush_async(self, name: str) -> dict[str, float]:
        """FLUSHALL ASYNC of a large hash."""
        return self.big(name, "hash", "FLUSHALL", "ASYNC")

    def flush_keys(self, name: str) -> dict[str, float]:
        """FLUSHALL ASYNC of many keys."""
        return self.big(name, "keys", "FLUSHALL", "ASYNC")

    def mass_expiry(self, name: str) -> dict[str, float]:
        """As many keys as the scale whose time is over at the same moment, while nobody names them."""
        server = self.start(name, [])
        try:
            at = time.time() + 3 + self.scale / 50_000
            ms = b"%d" % (at * 1000)
            server.client.feed((b"SET", b"key:%012d" % i, b"x", b"PXAT", ms) for i in range(self.scale))
            late = at - time.time() - 0.5
            if late < 0:
                raise SystemExit(f"mass-expiry: feeding {name} took too long")
            time.sleep(late)
            over = lambda: server.client("DBSIZE") == 0
            return self.disturb(server, lambda: None, over)
        finally:
            server.stop()

    def mass_eviction(self, name: str) -> dict[str, float]:
        """`maxmemory` falls to half of what is used: half of the keys have to go."""
        server = self.start(name, ["--maxmemory-policy", "allkeys-lru"])
        try:
            server.client.feed((b"SET", b"key:%012d" % i, b"x" * 100) for i in range(self.scale))
            limit = server.used() // 2
            over = lambda: server.used() <= limit * 1.01
            return self.disturb(server, lambda: server.client("CONFIG", "SET", "maxmemory", limit), over)
        finally:
            server.stop()

    def idle_clients(self, name: str) -> dict[str, float]:
        """10,000 connections that have said one word."""
        server, clients = self.start(name, ["--maxclients", "10100"]), []
        try:
            before = server.resident()
            start = time.perf_counter()
            for _ in range(IDLE):
                clients.append(socket.create_connection(("127.0.0.1", server.port)))
                clients[-1].sendall(b"PING\r\n")
                clients[-1].recv(7)
            took = time.perf_counter() - start
            time.sleep(1)
            each = (server.resident() - before) / IDLE
            figures = self.disturb(server, lambda: time.sleep(1))
            del figures["the command took, ms"]
            return {"resident bytes each": each, "to connect, us each": took / IDLE * 1e6, **figures}
        finally:
            for client in clients:
                client.close()
            server.stop()

    def storm(self, name: str) -> dict[str, float]:
        """A client that connects, asks and leaves, as fast as it can, for three seconds."""
        server = self.start(name, [])
        try:
            rate = multiprocessing.Value("d")
            storm = multiprocessing.Process(target=connect_and_leave, args=(server.port, 3.0, rate))
            before = server.cpu()

            def act():
                storm.start()
                storm.join()

            figures = self.disturb(server, act)
            del figures["the command took, ms"]
            return {"connections, /s": rate.value, "CPU each, us": (server.cpu() - before) / rate.value / 3 * 1e6, **figures}
        finally:
            server.stop()


def connect_and_leave(port: int, seconds: float, rate) -> None:
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"PING\r\n")
            client.recv(7)
        done += 1
    rate.value = done / seconds
