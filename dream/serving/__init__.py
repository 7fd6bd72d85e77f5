"""The winner of an experiment in use: exported as a file, served over HTTP, and checked by golden questions."""
