"""The agent beside Triton in every serving pod: loads what ModelPlacements ask for, and counts and logs sampled requests."""
