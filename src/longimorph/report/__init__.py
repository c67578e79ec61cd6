"""Report pages that open from disk: one per patient, one for the cohort. No server, no network."""
