"""The engine against a real API server: tests that need processes, watches and leases, and no images."""
