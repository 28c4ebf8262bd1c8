"""`kubectl tidemill COMMAND`: reads the arguments and has the command answer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tidemill_cli import commands
from tidemill_cli.cluster import Cluster
from tidemill_cli.errors import Failure
from tidemill_cli.store import DEFAULT_SECRET


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="kubectl tidemill",
        description="What one wants to see of Tidemill's runs and versions beyond kubectl get.",
        epilog="Each command has --help. Nothing is ever written to the cluster or to the store.",
    )
    names = top.add_subparsers(metavar="COMMAND", required=True)

    runs = names.add_parser(
        "runs",
        help="list training runs with model, dataset, metric and duration",
        description="List training runs, oldest first.",
    )
    _selection(runs)
    _common(runs, "table", "json")
    runs.set_defaults(command=commands.show_runs)

    compare = names.add_parser(
        "compare",
        help="put training runs side by side: parameters, metrics, learning curves",
        description="Put training runs side by side. A table shows the parameters that differ and marks the best metrics; "
        "an HTML page also draws learning curves, for which the artifact store is read.",
    )
    compare.add_argument("runs", metavar="RUN", nargs="*", help="names of TrainingRuns, in the order to show them")
    _selection(compare)
    _common(compare, "table", "json", "html")
    _store(compare)
    compare.add_argument(
        "--no-store", action="store_true", help="show what the API server has, and do not read the store"
    )
    compare.set_defaults(command=commands.show_comparison)

    lineage = names.add_parser(
        "lineage",
        help="trace a model version back to its run, dataset versions and inputs",
        description="Trace a ModelVersion back: to the run that made it, the dataset versions that it was trained on, and all "
        "that went into these, each with its digest.",
    )
    lineage.add_argument("version", metavar="MODELVERSION", help="name of a ModelVersion, such as flights-v3")
    _common(lineage, "tree", "json")
    _store(lineage)
    lineage.set_defaults(command=commands.show_lineage)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 1 when it could not answer, 2 when the arguments make no sense."""
    top = parser()
    options = top.parse_args(arguments)
    if options.command is commands.show_comparison and bool(options.runs) == bool(options.selector or options.model):
        top.error("compare takes the names of runs, or -l and --model to select them")
    try:
        cluster = Cluster.connect(kubeconfig=options.kubeconfig, context=options.context, namespace=options.namespace)
        options.command(options, cluster)
    except Failure as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        return 1
    return 0


def program() -> None:
    """The console script."""
    sys.exit(main())


def _selection(command: argparse.ArgumentParser) -> None:
    command.add_argument("-l", "--selector", metavar="LABELS", help="runs with these labels, as kubectl's -l")
    command.add_argument("--model", metavar="NAME", help="runs whose spec.model.name this is")


def _common(command: argparse.ArgumentParser, *formats: str) -> None:
    command.add_argument("-n", "--namespace", help="default: that of the kubeconfig's context")
    command.add_argument("--context", help="a context of the kubeconfig; default: its current one")
    command.add_argument("--kubeconfig", metavar="FILE", help="default: $KUBECONFIG, or ~/.kube/config")
    command.add_argument("-o", "--output", choices=formats, default=formats[0], help=f"default: {formats[0]}")
    command.add_argument("--out", metavar="FILE", help="write there instead of to standard output")


def _store(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--endpoint", metavar="URL", help="the artifact store; default: as the namespace's Secret or Jobs have it"
    )
    command.add_argument(
        "--store-secret", metavar="NAME", default=DEFAULT_SECRET,
        help=f"Secret with the store's keys, unless AWS_ACCESS_KEY_ID and its secret are set (default: {DEFAULT_SECRET})",
    )  # fmt: skip


if __name__ == "__main__":
    program()
