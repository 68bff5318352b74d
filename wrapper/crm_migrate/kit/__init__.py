"""What the front-end team needs, generated from the catalog of a migrated database. Writes files and nothing else."""
