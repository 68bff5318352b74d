"""`python -m crm_migrate` is the program."""

from crm_migrate.cli import main

main()
