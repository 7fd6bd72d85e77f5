"""Deploys the winner of an experiment: exports it as a file, serves it over HTTP, and checks it with golden
questions."""
