"""Talking to the API server: one small asynchronous client and what the operator does with it. No decisions, no kopf."""
