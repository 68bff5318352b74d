"""The transformation against its bare limit, on one server in one run: `make bench`."""
