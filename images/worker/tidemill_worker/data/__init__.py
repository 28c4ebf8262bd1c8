"""How a dataset is made: sources, SQL or steps, expectations, split, profile. DuckDB does the work, on one thread."""
