"""What the services share: clock, ids, event log, settings, server, readiness, metrics, logs.

Nothing here knows a feed, a model or a store. Each noun has its own module.
"""
