"""`kubectl tidemill`: what one wants to see of runs and versions beyond `kubectl get`.

`cluster` and `store` read; `runs`, `comparison` and `lineage` decide what is said, without any I/O; `text` and `page` write it.
"""
