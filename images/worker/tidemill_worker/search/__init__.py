"""Hyperparameter search: one Optuna study that several pods share through the artifact store."""
