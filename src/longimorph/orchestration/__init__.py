"""What the workflow needs around the stages: parameters, resources and logs of jobs, the state of a run."""
