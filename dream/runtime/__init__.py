"""The process that DREAM runs in: its event loop, its libraries and their versions, and code that other processes load.

Nothing here knows of documents, models or trials.
"""
