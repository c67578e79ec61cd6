"""The tables: what one pair leaves behind, and how pairs become a patient's and a cohort's tables."""

from longimorph.tables.collect import cohort_tables, patient_tables, write_pair_list
from longimorph.tables.pair import PairChanges, read_changes, read_transitions, write_failed_pair, write_pair
from longimorph.tables.verdict import PagesIncomplete, SomePairsFailed, verdict

__all__ = [
    "PagesIncomplete",
    "PairChanges",
    "SomePairsFailed",
    "cohort_tables",
    "patient_tables",
    "read_changes",
    "read_transitions",
    "verdict",
    "write_failed_pair",
    "write_pair",
    "write_pair_list",
]
