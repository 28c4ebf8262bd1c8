"""Tidemill: the life cycle of machine-learning models as Kubernetes resources.

Layers, each importing only those to its right: runtime > kube > reconcile > build > api > contract.
"""
