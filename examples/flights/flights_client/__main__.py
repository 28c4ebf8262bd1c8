"""`python -m flights_client MONTH`: replay a month; the Dataset's SQL is read from standard input."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from flights_client.first import first_answer
from flights_client.replay import replay


def main() -> None:
    """Parse the command line and replay."""
    parser = argparse.ArgumentParser(prog="flights_client", description=__doc__)
    parser.add_argument("month", type=int, choices=range(1, 13), metavar="MONTH", help="month of 2013, 1 to 12")
    parser.add_argument("--rows", type=int, default=3000, help="flights of the month to replay")
    parser.add_argument("--chunk", type=int, default=250, help="flights after which labels of the chunk before arrive")
    parser.add_argument("--seconds", type=float, default=25.0, help="how long the month takes")
    parser.add_argument("--seed", type=int, default=1, help="chooses the flights")
    parser.add_argument("--deployment", default="flights", help="the Deployment, which is also its Service's name")
    parser.add_argument("--shadow", action="append", default=[], help="another Deployment to compare with")
    parser.add_argument(
        "--first-answer",
        type=float,
        metavar="SECONDS",
        help="only wait so long for the first answer; prints its Unix time",
    )
    args = parser.parse_args()
    if args.first_answer is not None:
        answered = first_answer(
            args.month,
            sql=sys.stdin.read(),
            seed=args.seed,
            deployment=args.deployment,
            timeout=args.first_answer,
        )
        print(json.dumps({"answeredAt": asyncio.run(answered)}), flush=True)
        return
    result = asyncio.run(
        replay(
            args.month,
            sql=sys.stdin.read(),
            rows=args.rows,
            chunk=args.chunk,
            seconds=args.seconds,
            seed=args.seed,
            deployment=args.deployment,
            shadows=args.shadow,
        )
    )
    print(json.dumps({"result": result}), flush=True)


if __name__ == "__main__":
    main()
