"""The demo's client: replays a month of flights as real inference requests, and delivers their labels late."""
