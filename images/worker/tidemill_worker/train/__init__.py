"""Built-in training.

For every family: `target` encodes what is predicted, `epochs` loops with checkpoints and early stopping, and `trained` makes
the file and proves that it answers as the model does. `family` says what a family brings: `tabular` (a network on columns, with
`features`), `boosting` (trees on columns), `forecasting` (trees on windows of time series), `image` (a network on pixels).
`data` reads columns, `loop` trains networks. torch and LightGBM are imported only when a training of theirs runs.
"""
