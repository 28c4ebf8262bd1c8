"""`make demo`: the loop on real flights. `hack/demo --help` lists what can be changed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from flightsdemo import chaos, checks, data, idle, install, kubectl, latency, manifests, months, report
from flightsdemo.kubectl import DemoError
from flightsdemo.terminal import elapsed, say, step
from tidemill.api.durations import seconds

MONTHS = 9
"""April to December."""


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
    parser.add_argument(
        "--idle", type=float, default=0, metavar="SECONDS", help="then watch that the operator writes nothing so long"
    )
    parser.add_argument("--seed", type=int, default=1, help="chooses the flights and the moments of kills")
    parser.add_argument("--out", type=Path, default=install.ROOT / ".artifacts", help="folder of table and pictures")
    parser.add_argument(
        "--cluster-is-up", action="store_true", help="images are loaded and the charts installed already"
    )
    return parser.parse_args()


def story(options: months.Options, seed: int, kills: int) -> tuple[list[months.Month], dict[str, float | None]]:
    """From the first manifest to the last month; the months, and how long the first version took to answer."""
    examples = options.examples
    if kubectl.get("tmdrift", manifests.POLICY).get("status", {}).get("attemptCount"):
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
    with step("Client"):
        kubectl.run("wait", "--for=condition=Ready", "pod", manifests.CLIENT, "-n", kubectl.NAMESPACE, "--timeout=120s")
    asking = months.client(options.months[0], options, "--first-answer", "600")
    try:
        for file in ("dataset", "trainingrun", "serving", "batch", "driftpolicy"):
            kubectl.run("apply", "-f", str(examples / f"{file}.yaml"))
        for kind, name in (("tmds", "flights-q1"), ("tmrun", "flights-q1"), ("tmmv", "flights-v1")):
            with step(f"{kind} {name}") as current:
                kubectl.wait_ready(kind, name, step=current)
        with step("tmdep flights") as current:
            kubectl.wait_ready("tmdep", "flights", step=current)
            kubectl.wait_ready("tmdep", "flights-static", step=current)
        first = latency.first_version(months.first_answer(asking))
        options.template = kubectl.get("tmrun", "flights-q1")
        window = seconds(kubectl.get("tmdrift", manifests.POLICY)["spec"]["window"])
        rows = months.turn(options, window=window)
        killer.finish()
    finally:
        killer.stop()
        asking.kill()
    return rows, first


def main() -> int:
    """Run the demo; 1 when something went wrong or the loop was not worth having, with the reason on standard error."""
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
        rows, first = story(options, args.seed, args.kill_operator)
        extra = {"operatorKilled": args.kill_operator, "firstVersion": first, "seconds": elapsed()}
        paths = report.write(rows, args.out, extra)
        print(f"\n{report.table(rows)}\n")
        print(latency.line("first version", first))
        print("\n".join(latency.lines([row.steps for row in rows if row.steps])))
        say("; ".join(str(path) for path in paths))
        # a few months, or no comparison, show the loop but cannot show that it is worth having
        wrong = [*checks.problems(), *(report.shortfalls(rows) if len(rows) == MONTHS and options.blind else ())]
        if args.idle:
            with step("Idle") as current:
                wrong += idle.problems(args.idle, step=current)
    except DemoError as error:
        print(f"\ndemo: error: {error}", file=sys.stderr)
        return 1
    print("Look around: kubectl get tidemill -n flights. End the cluster: make cluster-down")
    for problem in wrong:
        print(f"demo: error: {problem}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
