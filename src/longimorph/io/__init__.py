"""Files: volumes, headers, transforms, atomic writes and hashes."""
