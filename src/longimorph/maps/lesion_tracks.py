"""One name for a lesion at all visits of a patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from longimorph.maps.lesion_matching import Group
from longimorph.maps.lesions import Lesions


def tracks(
    visits: Sequence[str], found: Mapping[str, Lesions], pairs: Mapping[tuple[str, str], Sequence[Group]]
) -> dict[str, list[int]]:
    """The track, from 0, of each lesion at each visit: lesions of one track are one lesion.

    ``visits`` in order of time; ``found`` has the lesions at each visit, ``pairs`` their groups. A lesion
    continues a track of the latest earlier visit that a pair compares with its own. Of several lesions that
    merge or split, the two with the largest overlap are the same; other lesions begin a track.
    """
    named: dict[str, list[int]] = {}
    count = 0
    for place, visit in enumerate(visits):
        if visit not in found:
            continue
        own: dict[int, int] = {}
        before = next((v for v in reversed(visits[:place]) if (v, visit) in pairs), None)
        if before is not None:
            own = _continued(pairs[before, visit], named[before])
        order = sorted(range(found[visit].count), key=lambda n: -found[visit].volumes[n])
        for index in order:
            if index + 1 not in own:
                own[index + 1] = count
                count += 1
        named[visit] = [own[number] for number in range(1, found[visit].count + 1)]
    return named


def _continued(groups: Sequence[Group], earlier: Sequence[int]) -> dict[int, int]:
    """The tracks that go on, by the lesion's number at the later visit."""
    own: dict[int, int] = {}
    gone: set[int] = set()
    links = sorted((link for group in groups for link in group.links), key=lambda link: -link[2])
    for source, target, _ in links:
        if target not in own and source not in gone:
            own[target] = earlier[source - 1]
            gone.add(source)
    return own
