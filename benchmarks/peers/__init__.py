"""The programs that longimorph is compared with; each ``run_*.py`` runs in an environment of its own."""
