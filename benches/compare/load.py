"""How hard is a server pushed, and what does the load generator report?

redis-benchmark is the generator; where memtier_benchmark is installed, it adds a
mixed load. Both are pinned to the other core.
"""

import json
import pathlib
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass

from rows import MILLION, Load
from servers import Core, Server


# What redis-benchmark puts for __rand_int__ has twelve digits.
MOST_KEYS = 10**12 - 1


@dataclass(frozen=True)
class Run:
    """One run of the generator. Latencies in milliseconds, CPU in microseconds."""
    requests: int
    rps: float
    cpu_us: float       # server CPU per request
    p50: float
    p99: float
    p999: float
    longest: float
    foreign: float      # share of the server's core that others used meanwhile


def words(server: Server, row: Load, scale: int) -> list[str]:
    """What redis-benchmark is told of a row against a server that holds its data."""
    for key in row.forget:
        server.client("DEL", key)
    command = row.command
    if row.script:
        sha = server.load_script(row.script)
        command = [word.replace("{sha}", sha) for word in command]
    return ["-h", "127.0.0.1", "-p", str(server.port), "-P", str(row.pipeline),
            "-r", str(min(row.keyspace * scale // MILLION, MOST_KEYS)), *command]


def redis_benchmark(server: Server, row: Load, requests: int, scale: int, cores: str, load_cores: str,
                    clients: int = 50) -> Run:
    """Runs one row once."""
    command = ["taskset", "-c", load_cores, "redis-benchmark", "-c", str(clients), "-n", str(requests),
               "--precision", "3", *words(server, row, scale)]
    return measured(server, cores, requests, command, parse_redis_benchmark)


def measured(server: Server, cores: str, requests: int, command: list[str], parse) -> Run:
    core = Core(cores)
    core.start()
    before = server.cpu()
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    used = server.cpu() - before
    foreign = core.foreign(used)
    if done.returncode != 0 or "Error from server" in done.stderr + done.stdout:
        raise SystemExit(f"{' '.join(command)} on {server.name}:\n{done.stderr}{done.stdout[-500:]}")
    rps, p50, p99, p999, longest = parse(done.stdout)
    return Run(requests, rps, used / requests * 1e6, p50, p99, p999, longest, foreign)


def parse_redis_benchmark(text: str) -> tuple[float, float, float, float, float]:
    text = text.replace("\r", "\n")
    rps = float(re.search(r"throughput summary: ([\d.]+)", text).group(1))
    summary = re.search(r"avg +min +p50 +p95 +p99 +max\n\s*([\d. ]+)", text).group(1).split()
    _avg, _min, p50, _p95, p99, longest = map(float, summary)
    exact = text.split("Cumulative distribution")[0]
    points = [(float(p), float(ms)) for p, ms in re.findall(r"([\d.]+)% <= ([\d.]+) milliseconds", exact)]
    p999 = next(ms for p, ms in points if p >= 99.9)
    return rps, p50, p99, p999, longest


def has_memtier() -> bool:
    return shutil.which("memtier_benchmark") is not None


def memtier(server: Server, requests: int, cores: str, load_cores: str) -> Run:
    """One SET to ten GETs of 64 bytes over a million keys, 50 connections, pipeline 16."""
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch, "report.json")
        command = ["taskset", "-c", load_cores, "memtier_benchmark", "-s", "127.0.0.1", "-p", str(server.port),
                   "-t", "1", "-c", "50", "-n", str(requests // 50), "--pipeline", "16", "--ratio", "1:10",
                   "-d", "64", "--key-maximum", "1000000", "--print-percentiles", "50,99,99.9",
                   "--hide-histogram", "--json-out-file", str(report)]

        def parse(_text: str) -> tuple[float, float, float, float, float]:
            total = json.loads(report.read_text())["ALL STATS"]["Totals"]
            at = total["Percentile Latencies"]
            return total["Ops/sec"], at["p50.00"], at["p99.00"], at["p99.90"], total["Max Latency"]

        return measured(server, cores, requests // 50 * 50, command, parse)
