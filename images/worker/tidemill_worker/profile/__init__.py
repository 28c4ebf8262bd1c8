"""What a dataset's rows look like: as data, as a page, as pictures, as a notebook. `build` makes the data, all else draws it.

DuckDB hands over one column at a time, numpy does the rest: a sum over sorted values is the same in any order of rows and for
any number of threads (decision 10 has the measurements).
"""
