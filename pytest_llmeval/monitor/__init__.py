"""Watches what is live: suites and a sample of traffic, their history, and alarms.

Points go into the history tables, states and messages into ``.llmeval/monitor``.
"""
