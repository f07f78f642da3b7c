"""Where a finished run can be sent, from its directory alone; see `core.contracts.Tracker`.

The libraries are extras of the package and are imported where something is sent.
"""
