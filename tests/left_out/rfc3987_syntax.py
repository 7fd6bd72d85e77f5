"""In place of a package with which jsonschema, imported by Ray Tune and nbformat, would check IRIs.

It reads a grammar for a second in each process, and nothing here checks an IRI; jsonschema does without it.
"""

raise ImportError("left out of the processes of the tests")
