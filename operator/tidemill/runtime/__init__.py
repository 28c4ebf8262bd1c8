"""The process: kopf as informer, indices, queue, driver, lease, probes. The only package that knows kopf."""
