"""Is it faster than Redis? Runs the same load on both, side by side, and says.

    python3 benches/compare/compare.py --peregrine target/release/peregrine --redis /path/to/redis-server
    python3 benches/compare/compare.py --redis redis-server --server valkey=/path/to/valkey-server --rows get,set

Every server is pinned to one core, the load generator to another. The runs of the
servers are interleaved, round by round, and ratios are taken within a round, so
that a machine that slows down slows all of them down. What counts is the CPU time
that the server process used per request (from /proc/PID/stat): unlike throughput,
it does not depend on how fast the generator is.
"""

import argparse
import os
import pathlib
import platform
import shlex
import sys
import time

import load
import report
from pauses import Pauses
from report import Figure
from rows import LOADS, MEMORY, MILLION, PAUSES, Load, Memory, strings
from servers import Server, expand


class Comparison:
    """The servers to compare, how to run them, and what has been found."""

    def __init__(self, args: argparse.Namespace, commands: dict[str, list[str]], reference: str):
        self.args, self.commands, self.reference = args, commands, reference
        self.figures: list[Figure] = []
        self.crowded: list[str] = []

    def start(self, name: str, flags: list[str]) -> Server:
        common = ["--io-threads", str(self.args.io_threads)] if self.args.io_threads else []
        return Server(name, self.commands[name], self.args.server_core, [*common, *flags])

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    # Throughput, CPU and latency.

    def load_row(self, row: Load) -> None:
        started = {}
        try:
            for name in self.commands:
                server = started[name] = self.start(name, [])
                if row.data:
                    server.client.feed(row.data(self.args.scale))
            requests = self.calibrate(started[self.reference], row)
            figures = {f.quantity: f for f in load_figures(row.name, row.must)}
            for round_ in range(self.args.rounds):
                for name, server in turned(started, round_):
                    run = load.redis_benchmark(server, row, requests, self.args.scale, self.args.server_core,
                                               self.args.load_core)
                    self.note(figures, name, run)
            self.figures += figures.values()
        finally:
            for server in started.values():
                server.stop()

    def calibrate(self, server: Server, row: Load) -> int:
        """So many requests that a run takes about as long as asked; also warms up."""
        for key in row.forget:
            server.client("DEL", key)
        probe = load.redis_benchmark(server, row, 20_000, self.args.scale, self.args.server_core, self.args.load_core)
        return max(20_000, int(probe.rps * self.args.seconds) // 1000 * 1000)

    def note(self, figures: dict[str, Figure], name: str, run: load.Run) -> None:
        for quantity, value in (("server CPU", run.cpu_us), ("throughput", run.rps), ("p50", run.p50),
                                ("p99", run.p99), ("p99.9", run.p999)):
            figures[quantity].add(name, value)
        if run.foreign > 0.05:
            self.crowded.append(f"{figures['server CPU'].row}/{name} {run.foreign:.0%}")

    def memtier_row(self) -> None:
        started = {}
        try:
            for name in self.commands:
                started[name] = self.start(name, [])
                started[name].client.feed(
                    (b"SET", b"memtier-%d" % i, b"x" * 64) for i in range(1, self.args.scale + 1))
            requests = int(100_000 * self.args.seconds)
            figures = {f.quantity: f for f in load_figures("memtier-mixed", None)}
            for round_ in range(self.args.rounds):
                for name, server in turned(started, round_):
                    run = load.memtier(server, requests, self.args.server_core, self.args.load_core)
                    self.note(figures, name, run)
            self.figures += figures.values()
        finally:
            for server in started.values():
                server.stop()

    # Threads.

    def threads_row(self) -> None:
        """CPU per request with two I/O threads, as a multiple of that with one: what sharing costs. Server and
        generator share the cores of both, since it is the work that is measured, and not its speed."""
        cores = f"{self.args.server_core},{self.args.load_core}"
        rows = [row for row in LOADS if row.name in ("get-p16", "set-p16")]
        for name, command in self.commands.items():
            servers = {n: Server(name, command, cores, ["--io-threads", str(n)]) for n in (1, 2)}
            try:
                for server in servers.values():
                    server.client.feed(strings(self.args.scale))
                for row in rows:
                    requests = int(200_000 * self.args.seconds)
                    figure = self.figure("threads-2", f"{row.command[0]} with two over one", 1.10)
                    for round_ in range(self.args.rounds):
                        cpu = {n: load.redis_benchmark(server, row, requests, self.args.scale, cores, cores).cpu_us
                               for n, server in turned(servers, round_)}
                        figure.add(name, cpu[2] / cpu[1])
            finally:
                for server in servers.values():
                    server.stop()

    def figure(self, row: str, quantity: str, must: float) -> Figure:
        """The figure of a row that is a multiple by itself; made when it is first asked for."""
        for figure in self.figures:
            if (figure.row, figure.quantity) == (row, quantity):
                return figure
        self.figures.append(Figure(row, quantity, "", must, absolute=True))
        return self.figures[-1]

    # Memory.

    def memory_row(self, row: Memory) -> None:
        items = row.items * self.args.scale // MILLION
        figure = Figure(row.name, row.title, "B/item", row.must, absolute=row.must is not None)
        for name in self.commands:
            server = self.start(name, [])
            try:
                empty = server.resident()
                server.client.feed(row.data(items))
                time.sleep(1.0)  # buffers shrink, freed pages go back
                figure.add(name, (server.resident() - empty) / items - row.payload)
            finally:
                server.stop()
        self.figures.append(figure)

    # Snapshots, the log, growth, deletion.

    def pause_row(self, row: str) -> None:
        requests = int(100_000 * self.args.seconds)
        courses = Pauses(self.start, self.args.server_core, self.args.load_core, self.args.scale, requests)
        figures: dict[str, Figure] = {}
        for round_ in range(self.args.pause_rounds):
            for name, _ in turned(self.commands, round_):
                for quantity, value in courses.run(row, name).items():
                    figures.setdefault(quantity, Figure(row, quantity, "")).add(name, value)
        self.figures += figures.values()


def load_figures(row: str, must: float | None) -> list[Figure]:
    return [Figure(row, "server CPU", "us/req", must), Figure(row, "throughput", "req/s", less_is_better=False),
            Figure(row, "p50", "ms"), Figure(row, "p99", "ms"), Figure(row, "p99.9", "ms")]


def turned(servers: dict, by: int) -> list:
    """The servers, each round beginning with another: nobody is always first."""
    items = list(servers.items())
    by %= len(items)
    return items[by:] + items[:by]


def chosen(args: argparse.Namespace) -> tuple[list[Load], list[Memory], list[str], bool, bool]:
    wanted = args.rows.split(",") if args.rows else None

    def picks(name: str) -> bool:
        return wanted is None or any(name == w or name.startswith(w + "-") for w in wanted)

    loads = [row for row in LOADS if picks(row.name) and (not args.pipeline or row.pipeline == args.pipeline)]
    memory = [row for row in MEMORY if picks(row.name) and not args.pipeline]
    pauses = [row for row in PAUSES if picks(row) and not args.pipeline]
    mixed = load.has_memtier() and picks("memtier-mixed") and args.pipeline in (None, 16)
    threads = picks("threads") and not args.pipeline
    if not (loads or memory or pauses or mixed or threads):
        known = [row.name for row in LOADS + MEMORY] + PAUSES + ["memtier-mixed", "threads"]
        raise SystemExit(f"no such row; there are: {', '.join(known)}")
    return loads, memory, pauses, mixed, threads


def arguments() -> argparse.Namespace:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--peregrine", help="our binary")
    cli.add_argument("--redis", required=True, help="the reference: a redis-server, best of version 8.2")
    cli.add_argument("--server", action="append", default=[], metavar="NAME=PATH",
                     help="one more server; PATH may carry arguments, quoted")
    cli.add_argument("--rows", help="only these, by name or its beginning: get,set,mem,snapshot")
    cli.add_argument("--pipeline", type=int, help="only load rows of this depth")
    cli.add_argument("--quick", action="store_true", help="a tenth of the data, shorter and fewer runs")
    cli.add_argument("--rounds", type=int, help="runs of each row and server (default 5; quick 3)")
    cli.add_argument("--pause-rounds", type=int, default=1, help="of snapshot, aof-*, growth, big-delete (default 1)")
    cli.add_argument("--seconds", type=float, help="length of a run, roughly (default 2; quick 1)")
    cli.add_argument("--scale", type=int, help="keys, or members, of the data (default 1000000; quick 100000)")
    cli.add_argument("--io-threads", type=int, default=1, help="passed to every server (default 1; 0: not passed)")
    cli.add_argument("--server-core", default="0", help="as for taskset -c (default 0)")
    cli.add_argument("--load-core", default="1", help="as for taskset -c (default 1)")
    cli.add_argument("--out", default="target/bench-compare", help="directory for table.txt, figures.csv, *.svg")
    args = cli.parse_args()
    args.rounds = args.rounds or (3 if args.quick else 5)
    args.seconds = args.seconds or (1.0 if args.quick else 2.0)
    args.scale = args.scale or (MILLION // 10 if args.quick else MILLION)
    return args


def named_servers(args: argparse.Namespace) -> dict[str, list[str]]:
    named = {"peregrine": [args.peregrine]} if args.peregrine else {}
    named["redis"] = [args.redis]
    for extra in args.server:
        name, equals, path = extra.partition("=")
        if not equals:
            raise SystemExit(f"--server {extra}: give it as NAME=PATH")
        named[name] = shlex.split(path)
    return named


def main() -> None:
    args = arguments()
    os.sched_setaffinity(0, expand(args.load_core))  # the probes live on the generator's core
    comparison = Comparison(args, named_servers(args), "redis")
    loads, memory, pauses, mixed, threads = chosen(args)
    head = heading(comparison)
    comparison.say(head)
    for row in loads:
        comparison.say(f"{row.name} ...")
        comparison.load_row(row)
    if mixed:
        comparison.say("memtier-mixed ...")
        comparison.memtier_row()
    if threads:
        comparison.say("threads ...")
        comparison.threads_row()
    for row in memory:
        comparison.say(f"{row.name} ...")
        comparison.memory_row(row)
    for name in pauses:
        comparison.say(f"{name} ...")
        comparison.pause_row(name)
    write(comparison, head)


def heading(comparison: Comparison) -> str:
    args, lines = comparison.args, []
    for name in comparison.commands:
        server = comparison.start(name, [])
        lines.append(f"{name} {server.version()}")
        server.stop()
    load_now = os.getloadavg()[0]
    where = f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"
    lines = [", ".join(lines),
             f"{where}; servers on core {args.server_core}, generator on core {args.load_core}, 50 connections, "
             f"{args.rounds} rounds of about {args.seconds:g} s, {args.scale:,} keys"]
    if load_now > 0.7:
        lines.append(f"NOT QUIET: the machine's load average was {load_now:.1f} before the first run")
    return "\n".join(lines)


def write(comparison: Comparison, head: str) -> None:
    servers, reference, figures = list(comparison.commands), comparison.reference, comparison.figures
    ours = "peregrine" if "peregrine" in servers else None
    table = (head + "\nmedian [min..max], ratio to redis (min..max of the rounds' ratios), "
             f"~: the rounds differ by more than {report.NOISY:.0%}\n"
             + report.text_tables(figures, servers, reference, ours) + "\n")
    if comparison.crowded:
        table += ("\nOthers used more than 5% of the server's core during "
                  f"{len(comparison.crowded)} runs: {', '.join(comparison.crowded[:12])}\n"
                  "Such figures are not to be quoted.\n")
    print(table)
    out = pathlib.Path(comparison.args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.txt").write_text(table)
    report.write_csv(out / "figures.csv", figures, servers, reference)
    cpu = [f for f in figures if f.quantity == "server CPU"]
    report.write_svg(out / "cpu.svg", "Server CPU per request, relative to Redis", head.split("\n")[0]
                     + " (shorter is better; red: target)", cpu, servers, reference)
    space = [f for f in figures if f.unit == "B/item"]
    report.write_svg(out / "memory.svg", "Memory per item, relative to Redis", head.split("\n")[0]
                     + " (shorter is better)", space, servers, reference)
    comparison.say(f"written: {out}/table.txt, figures.csv, cpu.svg, memory.svg")


if __name__ == "__main__":
    main()
