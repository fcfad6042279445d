"""Runs an output: claim it, choose a channel, write the attempt, call, store, settle. Knows nothing of who asked."""

from generation.execution.dispatch import due, due_everywhere, running_cap
from generation.execution.job_rounds import advance as advance_job
from generation.execution.job_rounds import due_jobs
from generation.execution.leases import stop_heartbeat
from generation.execution.road import run
from generation.execution.sweeping import purge, sweep

__all__ = ["advance_job", "due", "due_everywhere", "due_jobs", "purge", "run", "running_cap", "stop_heartbeat", "sweep"]
