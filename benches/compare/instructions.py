"""How many instructions does a request take? The same load on both servers, under valgrind.

    python3 benches/compare/instructions.py --peregrine target/release/peregrine --redis /path/to/redis-server
    python3 benches/compare/instructions.py --peregrine target/release/peregrine --rows zadd --functions 40

User-space instructions only, and no cache misses: blind to the kernel and to memory, but
the same on every machine, however busy. Give it binaries with line tables (the release
profile has them). With `--functions N` the N dearest functions of each row follow, by what
they execute themselves; `--inclusive` adds what they call; `--cache` counts the misses of a
simulated last-level cache as well.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import load
from rows import LOADS, Load
from servers import Server

REQUESTS = 32_000


def control(server: Server, *words: str) -> None:
    subprocess.run(["callgrind_control", *words, str(server.pid)], check=True, capture_output=True, timeout=120)


def profile(name: str, binary: str, row: Load, args: argparse.Namespace, out: pathlib.Path) -> pathlib.Path:
    """Runs a row against one server and returns the profile of the measured part."""
    cache = ["--cache-sim=yes"] if args.cache else []
    tool = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", *cache, binary]
    # callgrind_control knows its processes by their titles.
    flags = ["--io-threads", "1", "--hz", "1", "--set-proc-title", "no"]
    server = Server(name, tool, args.server_core, flags)
    try:
        if row.data:
            server.client.feed(row.data(args.scale), 100)
        generator = ["taskset", "-c", args.load_core, "redis-benchmark", "-c", "50", "-q"]
        words = load.words(server, row, args.scale)
        subprocess.run([*generator, "-n", "8000", *words], check=True, capture_output=True, timeout=600)  # warms up
        control(server, "-i", "on")
        subprocess.run([*generator, "-n", str(REQUESTS), *words], check=True, capture_output=True, timeout=1200)
        control(server, "-i", "off")
        control(server, "--dump")
        return dumped(server, out)
    finally:
        server.stop()


def dumped(server: Server, out: pathlib.Path) -> pathlib.Path:
    """The profile, which is written when the server next runs."""
    for _ in range(100):
        server.client("PING")
        for path in out.parent.glob(f"{out.name}.*"):
            if "totals:" in path.read_text(errors="replace"):
                return path
        time.sleep(0.1)
    raise SystemExit(f"{server.name}: no profile")


def total(path: pathlib.Path) -> list[int]:
    text = path.read_text(errors="replace")
    return [int(n) for n in re.findall(r"^totals: ([\d ]+)$", text, re.M)[-1].split()]


def functions(path: pathlib.Path, n: int, inclusive: bool) -> str:
    """The dearest functions, in instructions per request."""
    flags = [f"--inclusive={'yes' if inclusive else 'no'}", "--threshold=100", "--auto=no", "--show=Ir"]
    text = subprocess.run(["callgrind_annotate", *flags, str(path)], capture_output=True, text=True).stdout
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*([\d,]+) \(\s*[\d.]+%\)\s+(.*)", line)
        if match and "PROGRAM TOTALS" not in line:
            name = re.sub(r"^\S*?:(?=\S)", "", match[2].split(" [")[0])
            found.append(f"    {int(match[1].replace(',', '')) / REQUESTS:8.1f}  {name[:150]}")
    return "\n".join(found[:n])


def arguments() -> argparse.Namespace:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--peregrine", help="our binary")
    cli.add_argument("--redis", help="the reference")
    cli.add_argument("--rows", help="only these, by name or its beginning")
    cli.add_argument("--scale", type=int, default=100_000, help="keys, or members, of the data (default 100000)")
    cli.add_argument("--functions", type=int, default=0, metavar="N", help="list the N dearest functions")
    cli.add_argument("--inclusive", action="store_true", help="... with what they call")
    cli.add_argument("--cache", action="store_true", help="simulate caches too (slow)")
    cli.add_argument("--server-core", default="0", help="as for taskset -c (default 0)")
    cli.add_argument("--load-core", default="1", help="as for taskset -c (default 1)")
    return cli.parse_args()


def main() -> None:
    args = arguments()
    wanted = args.rows.split(",") if args.rows else None
    rows = [r for r in LOADS if wanted is None or any(r.name == w or r.name.startswith(w + "-") for w in wanted)]
    servers = {"peregrine": args.peregrine, "redis": args.redis}
    for row in rows:
        each = {}
        for name, binary in servers.items():
            if not binary:
                continue
            with tempfile.TemporaryDirectory() as scratch:
                path = profile(name, binary, row, args, pathlib.Path(scratch, "callgrind"))
                each[name] = counts = total(path)
                listed = functions(path, args.functions, args.inclusive) if args.functions else ""
            misses = f", LL misses {sum(counts[-2:]) / REQUESTS:.2f}" if args.cache else ""
            print(f"{row.name:16} {name:10} {counts[0] / REQUESTS:9.0f} instructions a request{misses}")
            if listed:
                print(listed)
        if len(each) == 2:
            print(f"{row.name:16} {'ratio':10} {each['peregrine'][0] / each['redis'][0]:9.2f}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
