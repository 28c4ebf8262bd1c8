"""A user's own code in the pod: what it is given, and what it leaves while it runs."""
