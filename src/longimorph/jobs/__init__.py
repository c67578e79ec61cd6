"""What the workflow needs around the library: what each job depends on, its log and size, a run's state."""
