"""Which server keeps the better keys when memory is short? The same requests to each, and the share it could answer.

    python3 benches/compare/hitratio.py --peregrine target/release/peregrine --redis /path/to/redis-server

A cache-aside client: GET, and SET of what was not there, in batches. Two traces: keys by a Zipf law, and the same
polluted by scans, runs of keys that are asked for once and never again. Every server gets the same trace and the same
`maxmemory`; it therefore also shows what a smaller item is worth, so the keys that are held at the end are printed
beside the ratio, and `--keys` sets `maxmemory` per server so that each holds about so many: that compares the choice
of keys alone. Requests come at a fixed rate, so the ratios do not depend on how busy the machine is, as long as it
can keep up.
"""

import argparse
import itertools
import random
import time
from typing import Iterator

from servers import Client, Server, encode

VALUE = b"v" * 100
BATCH = 50
POLICIES = ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-ttl"]


def zipf(keys: int, exponent: float, seed: int) -> Iterator[int]:
    """Key numbers without end; number 0 is the most wanted."""
    weights = list(itertools.accumulate(1 / rank**exponent for rank in range(1, keys + 1)))
    chance = random.Random(seed)
    while True:
        yield from chance.choices(range(keys), cum_weights=weights, k=10_000)


def polluted(wanted: Iterator[int], keys: int, every: int, length: int) -> Iterator[int]:
    """After every so many requests a run of keys that nobody asks for again."""
    fresh = itertools.count(keys)
    while True:
        yield from itertools.islice(wanted, every)
        yield from itertools.islice(fresh, length)


def trace(kind: str, args: argparse.Namespace) -> Iterator[int]:
    wanted = zipf(args.universe, args.exponent, args.seed)
    return wanted if kind == "zipf" else polluted(wanted, args.universe, args.universe // 2, args.universe // 4)


def name(number: int) -> bytes:
    return b"key:%012d" % number


def ask(client: Client, batch: list[int], volatile: bool) -> int:
    """GETs, then SETs of what was missing; returns how many were there."""
    client.socket.sendall(b"".join(encode((b"GET", name(n))) for n in batch))
    missing = [n for n in batch if client.read() is None]
    missing = list(dict.fromkeys(missing))
    end = (b"EX", b"100000") if volatile else ()
    client.socket.sendall(b"".join(encode((b"SET", name(n), VALUE, *end)) for n in missing))
    for _ in missing:
        client.read()
    return len(batch) - len(missing)


def run(server: Server, kind: str, policy: str, args: argparse.Namespace) -> tuple[float, int]:
    """The hit ratio of the second half of the trace, and how many keys there were then."""
    requests, hits, counted, began = trace(kind, args), 0, 0, time.monotonic()
    for start in range(0, args.requests, BATCH):
        found = ask(server.client, list(itertools.islice(requests, BATCH)), policy.startswith("volatile"))
        if start >= args.requests // 2:
            hits, counted = hits + found, counted + BATCH
        time.sleep(max(0.0, began + start / args.rate - time.monotonic()))
    behind = time.monotonic() - began - args.requests / args.rate
    if behind > 1:
        print(f"{kind} {policy}: {behind:.1f} s behind the rate asked for", flush=True)
    return hits / counted, server.client("DBSIZE")


def limit_for(command: str, keys: int, args: argparse.Namespace) -> int:
    """The `maxmemory` that holds so many keys of the trace."""
    server = Server("probe", [command], args.server_core, ["--io-threads", "1"])
    try:
        server.client.feed((b"SET", name(n), VALUE, b"EX", b"100000") for n in range(keys))
        return server.used()
    finally:
        server.stop()


def measure(binary: str, limit: int, kind: str, policy: str, args: argparse.Namespace) -> tuple[float, int]:
    flags = ["--io-threads", "1", "--maxmemory", str(limit), "--maxmemory-policy", policy]
    server = Server("cache", [binary], args.server_core, flags)
    try:
        return run(server, kind, policy, args)
    finally:
        server.stop()


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--peregrine", required=True)
    cli.add_argument("--redis", required=True)
    cli.add_argument("--requests", type=int, default=400_000)
    cli.add_argument("--universe", type=int, default=100_000, help="keys of the Zipf law (default 100000)")
    cli.add_argument("--exponent", type=float, default=0.99)
    cli.add_argument("--maxmemory", type=int, default=4 << 20, help="the same for all (default 4 MiB)")
    cli.add_argument("--keys", type=int, help="instead: as much memory as so many keys take in each server")
    cli.add_argument("--policies", default=",".join(POLICIES))
    cli.add_argument("--traces", default="zipf,scan")
    cli.add_argument("--rate", type=int, default=10_000, help="requests a second, the same for all, since LRU counts "
                     "seconds (default 10000)")
    cli.add_argument("--seed", type=int, default=1)
    cli.add_argument("--server-core", default="0")
    args = cli.parse_args()
    binaries = {"peregrine": args.peregrine, "redis": args.redis}
    limits = {who: limit_for(binary, args.keys, args) if args.keys else args.maxmemory
              for who, binary in binaries.items()}
    print(f"{args.requests:,} requests, {args.universe:,} keys, exponent {args.exponent}, "
          + ", ".join(f"{who} maxmemory {limit:,}" for who, limit in limits.items()))
    print(f"{'trace':6} {'policy':16} {'peregrine':>18} {'redis':>18} {'difference':>11}")
    for kind, policy in itertools.product(args.traces.split(","), args.policies.split(",")):
        ours, theirs = (measure(binary, limits[who], kind, policy, args) for who, binary in binaries.items())
        shown = [f"{ratio:.2%} ({keys:,})" for ratio, keys in (ours, theirs)]
        print(f"{kind:6} {policy:16} {shown[0]:>18} {shown[1]:>18} {ours[0] - theirs[0]:>+10.2%}", flush=True)


if __name__ == "__main__":
    main()
