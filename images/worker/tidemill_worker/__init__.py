"""What runs inside Tidemill's Jobs: one process, one task, one result in the termination message."""
