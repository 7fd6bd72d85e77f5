"""The `dream` command.

Each subcommand calls the same functions as the notebooks.
"""
