"""The benchmark, `make bench`: the whole migration, the transformation in other ways, what the safety costs."""
