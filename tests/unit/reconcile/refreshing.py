"""Datasets that are refreshed, for tests of when and of what goes wrong."""

from __future__ import annotations

from typing import Any

from tests.property import manifests
from tests.property.fake_api import Raw
from tests.property.fake_cluster import NAMESPACE
from tests.unit.reconcile.datasets import Cluster

from tidemill.reconcile.plan import Key

NIGHTLY = {"schedule": "0 3 * * *"}


POLLED = {"onSourceChange": {"interval": "10m"}}


FLIGHTS = Key(kind="Dataset", namespace=NAMESPACE, name="flights")


DERIVED = Key(kind="Dataset", namespace=NAMESPACE, name="derived")


def refreshed(refresh: Raw = NIGHTLY, **spec: Any) -> Cluster:
    """A cluster with one Dataset that is prepared and refreshed."""
    cluster = Cluster()
    cluster.create(manifests.dataset(refresh=refresh, **spec))
    cluster.rest()
    return cluster


def derived(refresh: Raw = POLLED) -> Cluster:
    cluster = refreshed()
    cluster.create(manifests.derived("derived", "flights", refresh=refresh))
    cluster.rest()
    return cluster
