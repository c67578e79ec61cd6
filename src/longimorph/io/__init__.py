"""File access: volumes, headers, transforms, atomic writes and hashes."""
