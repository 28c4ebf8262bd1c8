"""Write the pods that want to be scraped as targets for Prometheus's file discovery, whenever they change.

Debian's Prometheus is built without Kubernetes discovery. A pod wants to be scraped when its annotation prometheus.io/scrape
is "true"; prometheus.io/port and prometheus.io/path say where.
"""

import json
import os
import pathlib
import ssl
import sys
import time
import urllib.request

ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
TARGETS = pathlib.Path("/targets/pods.json")
NAMESPACES = [name for name in os.environ["NAMESPACES"].split(",") if name]
SECONDS = float(os.environ["SECONDS"])
HOST, PORT = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
TLS = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))


def pods():
    for path in [f"/api/v1/namespaces/{name}/pods" for name in NAMESPACES] or ["/api/v1/pods"]:
        # resourceVersion=0: from the API server's cache.
        request = urllib.request.Request(f"https://{HOST}:{PORT}{path}?resourceVersion=0")
        request.add_header("Authorization", f"Bearer {(ACCOUNT / 'token').read_text()}")
        with urllib.request.urlopen(request, context=TLS, timeout=10) as answer:
            yield from json.load(answer)["items"]


def targets():
    found = []
    for pod in pods():
        meta, status = pod["metadata"], pod["status"]
        wishes = meta.get("annotations") or {}
        ip = status.get("podIP")
        if wishes.get("prometheus.io/scrape") != "true" or not ip or status["phase"] in ("Succeeded", "Failed"):
            continue
        labels = {
            "namespace": meta["namespace"],
            "pod": meta["name"],
            "__metrics_path__": wishes.get("prometheus.io/path", "/metrics"),
        }
        found.append({"targets": [f"{ip}:{wishes.get('prometheus.io/port', '80')}"], "labels": labels})
    return json.dumps(sorted(found, key=lambda t: t["targets"]), indent=1)


last = None
while True:
    try:
        now = targets()
    except (OSError, ValueError, KeyError) as error:
        print(f"no list of pods: {error}", file=sys.stderr, flush=True)
    else:
        if now != last:
            TARGETS.with_suffix(".tmp").write_text(now)
            TARGETS.with_suffix(".tmp").rename(TARGETS)
            last = now
    time.sleep(SECONDS)
