"""The API server, as the user's kubeconfig leads to it. Its refusals come out as sentences.

The official client reads kubeconfigs here, not the operator's own: people log in by programs (`exec`) and cloud providers'
plugins, which the operator never does.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, TypeVar

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from tidemill.contract.names import GROUP, MANAGED_BY, MANAGED_BY_VALUE, VERSION
from tidemill_cli.errors import Failure

Object = dict[str, Any]
T = TypeVar("T")

PLURALS = {"TrainingRun": "trainingruns", "ModelVersion": "modelversions"}
_CONFIG: Any = config  # of the client's modules, this one has no types
_PATIENCE = {"_request_timeout": (5.0, 30.0)}
"""Seconds to connect, and to answer."""
_PAGE = 500
_SHOWN_NAMES = 8


class Cluster:
    """One namespace of a cluster, read-only."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self.namespace = namespace
        self._objects: Any = client.CustomObjectsApi(api)
        self._core: Any = client.CoreV1Api(api)
        self._batch: Any = client.BatchV1Api(api)
        self._server = str(api.configuration.host)

    @classmethod
    def connect(cls, *, kubeconfig: str | None, context: str | None, namespace: str | None) -> Cluster:
        """By the kubeconfig named, $KUBECONFIG, ~/.kube/config, or in a pod by its service account. Raises Failure."""
        chosen = kubeconfig or os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")
        settings = client.Configuration()
        settings.retries = 1
        try:
            if kubeconfig is None and not os.path.exists(chosen) and "KUBERNETES_SERVICE_HOST" in os.environ:
                _CONFIG.load_incluster_config(client_configuration=settings)
                return cls(client.ApiClient(settings), namespace or "default")
            contexts, active = _CONFIG.list_kube_config_contexts(chosen)
            if context is not None:
                active = next((c for c in contexts if c["name"] == context), None)
                if active is None:
                    known = ", ".join(sorted(c["name"] for c in contexts))
                    raise Failure(f"kubeconfig {chosen} has no context {context!r}; it has: {known}")
            api = _CONFIG.new_client_from_config(
                chosen, context=context, persist_config=False, client_configuration=settings
            )
        except (ConfigException, OSError) as error:
            words = str(error).rstrip(".")
            raise Failure(f"kubeconfig {chosen}: {words}: name another one by --kubeconfig or $KUBECONFIG") from error
        return cls(api, namespace or active["context"].get("namespace") or "default")

    def get(self, kind: str, name: str) -> Object:
        """One object of our kinds. Raises Failure: when it does not exist, with what does."""
        found = self.find(kind, name)
        if found is None:
            raise Failure(f"no {kind} {name} in namespace {self.namespace}: {self._instead(kind, name)}")
        return found

    def find(self, kind: str, name: str) -> Object | None:
        """One object of our kinds, or None when it does not exist. Raises Failure."""
        plural = PLURALS[kind]
        request = self._objects.get_namespaced_custom_object
        found: Object | None = self._ask(
            "get", f"{plural}.{GROUP}", lambda: request(GROUP, VERSION, self.namespace, plural, name, **_PATIENCE)
        )
        return found

    def find_all(self, kind: str, selector: str = "") -> list[Object]:
        """The objects of one of our kinds that a label selector takes, by name. Raises Failure."""
        plural, items, token = PLURALS[kind], list[Object](), ""
        request = self._objects.list_namespaced_custom_object

        def page() -> Object:
            query = {"label_selector": selector, "limit": _PAGE, **({"_continue": token} if token else {})}
            found: Object = request(GROUP, VERSION, self.namespace, plural, **query, **_PATIENCE)
            return found

        while True:
            answer = self._ask("list", f"{plural}.{GROUP}", page)
            if answer is None:
                raise self._not_installed()
            items += answer["items"]
            token = answer["metadata"].get("continue") or ""
            if not token:
                return sorted(items, key=lambda item: str(item["metadata"]["name"]))

    def secret(self, name: str) -> dict[str, str] | None:
        """A Secret's texts, or None when it does not exist. Raises Failure."""
        read = self._core.read_namespaced_secret
        found = self._ask("get", "secrets", lambda: read(name, self.namespace, **_PATIENCE))
        if found is None:
            return None
        return {key: base64.b64decode(value).decode(errors="replace") for key, value in (found.data or {}).items()}

    def task_environment(self) -> dict[str, str]:
        """The plain environment of any of Tidemill's Jobs in the namespace, {} when there is none. Raises Failure."""
        ours, read = f"{MANAGED_BY}={MANAGED_BY_VALUE}", self._batch.list_namespaced_job
        jobs = self._ask("list", "jobs.batch", lambda: read(self.namespace, label_selector=ours, limit=1, **_PATIENCE))
        if jobs is None or not jobs.items:
            return {}
        container = jobs.items[0].spec.template.spec.containers[0]
        return {variable.name: variable.value for variable in container.env or () if variable.value}

    def _instead(self, kind: str, name: str) -> str:
        """What to name instead of an object that is not there."""
        try:
            self._core.read_namespace(self.namespace, **_PATIENCE)
        except ApiException as error:
            if error.status == 404:  # else: whoever may not read Namespaces is told of the object alone
                return "the namespace does not exist: name another one by -n"
        names = [item["metadata"]["name"] for item in self.find_all(kind)]
        if not names:
            return f"there is no {kind} at all: another namespace is named by -n"
        near = get_close_matches(name, names, n=3) or names[:_SHOWN_NAMES]
        more = f" … {len(names)} in all" if len(names) > len(near) else ""
        return f"there is {', '.join(near)}{more}; another namespace is named by -n"

    def _not_installed(self) -> Failure:
        return Failure(f"{self._server} does not know the API {GROUP}/{VERSION}: Tidemill is not installed there")

    def _ask(self, verb: str, resource: str, request: Callable[[], T]) -> T | None:
        """The answer, or None when there is no such object."""
        try:
            return request()
        except ApiException as error:
            said = _message(error)
            if error.status == 404:
                if "page not found" in said:
                    raise self._not_installed() from error
                return None
            if error.status == 403:
                raise Failure(
                    f"you may not {verb} {resource} in namespace {self.namespace}: ask for a Role with the verb {verb!r} on "
                    f"the resource {resource!r} ({said})"
                ) from error
            if error.status == 401:
                raise Failure(
                    f"{self._server} does not accept your credentials: log in again, or name another --context"
                ) from error
            raise Failure(f"{self._server} refused to {verb} {resource} in {self.namespace}: {said}") from error
        except (HTTPError, ConfigException, OSError) as error:
            raise Failure(f"{self._server} does not answer: {error}") from error


def _message(error: ApiException) -> str:
    """What the API server said, in its own words."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.body or error.reason).strip()
