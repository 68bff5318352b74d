"""Where the project keeps what is not Python: models, checks, mappings, SQL."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
DBT_PROJECT = PROJECT / "dbt_project"
SODA = PROJECT / "soda"
SEEDS = PROJECT / "seeds"
SQL = PROJECT / "sql"
DOCS = PROJECT / "docs"
