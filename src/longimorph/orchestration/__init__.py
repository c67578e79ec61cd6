"""Support for the workflow besides the stages: parameters, resources and logs of jobs, state of a run."""
