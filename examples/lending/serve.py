"""Runs a worker of each service, or of one: python3 serve.py --name ada."""

import argparse
import asyncio

from redis.asyncio import Redis

from lending import Lending
from shelving import Shelving
from worker import serve

SERVICES = {"lending": Lending, "shelving": Shelving}


async def main() -> None:
    cli = argparse.ArgumentParser(description="Runs the library's services.")
    cli.add_argument("service", nargs="*", help="lending, shelving (default: both)")
    cli.add_argument("--name", default="worker", help="this worker's name in its groups; must be its own")
    cli.add_argument("--url", default="redis://127.0.0.1:6379/0")
    cli.add_argument("--pace", type=float, default=0.0, help="seconds that each step takes")
    cli.add_argument("--patience", type=float, default=5.0,
                     help="seconds before work of a silent worker is taken over")
    args = cli.parse_args()
    if unknown := set(args.service) - SERVICES.keys():
        cli.error(f"no such service: {', '.join(sorted(unknown))}")

    redis = Redis.from_url(args.url, decode_responses=True)
    habits = {"pace": args.pace, "patience": args.patience}
    names = args.service or list(SERVICES)
    await serve(*(SERVICES[s](redis, args.name, **habits) for s in names))
    await redis.aclose()


if __name__ == "__main__":
    asyncio.run(main())
