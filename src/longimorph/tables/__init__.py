"""The tables of one pair, and their combination into a patient's and a cohort's tables."""

from longimorph.tables.collect import cohort_tables, patient_tables, repeat_tables, write_pair_list
from longimorph.tables.completeness import PagesIncomplete, SomePairsFailed, require_complete
from longimorph.tables.pair import PairChanges, read_changes, read_transitions, write_failed_pair, write_pair
from longimorph.tables.visits import write_cohort_visits, write_patient_visits

__all__ = [
    "PagesIncomplete",
    "PairChanges",
    "SomePairsFailed",
    "cohort_tables",
    "patient_tables",
    "read_changes",
    "read_transitions",
    "repeat_tables",
    "require_complete",
    "write_cohort_visits",
    "write_failed_pair",
    "write_pair",
    "write_pair_list",
    "write_patient_visits",
]
