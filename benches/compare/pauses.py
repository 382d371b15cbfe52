"""What do snapshots, the log, growth and big deletions cost the other clients?

Each of these has a course of its own; each reports named figures, of which the
ratio to the reference server is printed beside the figure itself.
"""

import dataclasses
import threading
import time

from load import redis_benchmark
from rows import MILLION, Load, one_hash, one_list, one_set, one_stream, one_zset
from servers import Client, Server

OVERWRITE = Load("overwrite", ["SET", "key:__rand_int__", "y" * 200], 16, None)


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
        return redis_benchmark(server, row, requests, self.cores, self.load_cores)

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

    def big_delete(self, name: str) -> dict[str, float]:
        """DEL of one hash of ten times the scale, while a probe asks."""
        server = self.start(name, [])
        try:
            many = self.scale * 10
            server.client.feed(
                (b"HSET", b"big", *(w for j in range(i, i + 100) for w in (b"fld:%012d" % j, b"%d" % j)))
                for i in range(0, many, 100))
            prober = Prober(server.port)
            prober.start()
            time.sleep(0.5)
            start = time.perf_counter()
            server.client("DEL", "big")
            took = (time.perf_counter() - start) * 1e3
            time.sleep(0.5)
            p999, longest = prober.end()
            return {"DEL took, ms": took, "probe p99.9, ms": p999, "longest pause, ms": longest}
        finally:
            server.stop()
