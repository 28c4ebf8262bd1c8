"""`make demo`: the loop on real flights. `hack/demo --help` lists what can be changed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from flightsdemo import chaos, data, install, kubectl, latency, manifests, months, report
from flightsdemo.kubectl import DemoError
from flightsdemo.terminal import elapsed, say, step
from tidemill.api.durations import seconds


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="hack/demo", description=__doc__)
    parser.add_argument("--months", default="4-12", help="months of 2013 to replay, FIRST-LAST (default: 4-12)")
    parser.add_argument("--rows", type=int, default=3000, help="requests a month (default: 3000)")
    parser.add_argument("--seconds", type=float, default=25, help="how long a month takes (default: 25)")
    parser.add_argument("--no-blind", action="store_true", help="leave out the blind monthly retraining")
    parser.add_argument(
        "--kill-operator", type=int, default=0, metavar="N", help="SIGKILL the operator N times meanwhile"
    )
    parser.add_argument("--seed", type=int, default=1, help="chooses the flights and the moments of kills")
    parser.add_argument("--out", type=Path, default=install.ROOT / ".artifacts", help="folder of table and pictures")
    parser.add_argument(
        "--cluster-is-up", action="store_true", help="images are loaded and the charts installed already"
    )
    return parser.parse_args()


def story(options: months.Options, seed: int, kills: int) -> tuple[list[months.Month], int]:
    """From the first manifest to the last month; the months and how often the operator was killed."""
    examples = options.examples
    if kubectl.get("tmdrift", months.POLICY).get("status", {}).get("attemptCount"):
        raise DemoError(
            "an earlier demo has replayed months here already: kubectl delete namespace flights, then again"
        )
    with step("Raw data") as current:
        count = data.upload(examples, store_namespace=install.SYSTEM, artifacts_bucket=install.BUCKET)
        current.update(f"{count} objects in the store")
    kubectl.apply(
        manifests.client(install.image("flights-client"), store_endpoint=install.STORE, secret=install.SECRET)
    )
    killer = chaos.OperatorKiller(kills, least=10, most=60, seed=seed)
    killer.start()
    try:
        for file in ("dataset", "trainingrun", "serving", "batch", "driftpolicy"):
            kubectl.run("apply", "-f", str(examples / f"{file}.yaml"))
        for kind, name in (("tmds", "flights-q1"), ("tmrun", "flights-q1"), ("tmmv", "flights-v1")):
            with step(f"{kind} {name}") as current:
                kubectl.wait_ready(kind, name, step=current)
        with step("tmdep flights") as current:
            kubectl.wait_ready("tmdep", "flights", step=current)
            kubectl.wait_ready("tmdep", "flights-static", step=current)
        options.template = kubectl.get("tmrun", "flights-q1")
        window = seconds(kubectl.get("tmdrift", months.POLICY)["spec"]["window"])
        rows = months.turn(options, window=window)
    finally:
        killer.stop()
    return rows, killer.killed


def main() -> int:
    """Run the demo; 1 when something went wrong, with the reason on standard error."""
    args = arguments()
    first, _, last = args.months.partition("-")
    options = months.Options(
        months=list(range(int(first), int(last or first) + 1)),
        rows=args.rows,
        seconds=args.seconds,
        blind=not args.no_blind,
        examples=install.EXAMPLES,
        seed=args.seed,
    )
    try:
        if not args.cluster_is_up:
            install.cluster()
            install.charts()
        rows, killed = story(options, args.seed, args.kill_operator)
        attempts = latency.measure()
        paths = report.write(rows, args.out, {"operatorKilled": killed, "latency": attempts, "seconds": elapsed()})
    except DemoError as error:
        print(f"\ndemo: error: {error}", file=sys.stderr)
        return 1
    print(f"\n{report.table(rows)}\n")
    print("\n".join(latency.lines(attempts)))
    say("; ".join(str(path) for path in paths))
    print("Look around: kubectl get tidemill -n flights. End the cluster: make cluster-down")
    return 0


if __name__ == "__main__":
    sys.exit(main())
