"""Our own checks, for errors that no linter finds."""

# In the order in which they are run and listed.
from . import tables, secrets, functions, logs, permissions, api, answers, schedules, machines
from . import alarms, dashboard, metrics, outputs, environments, size
