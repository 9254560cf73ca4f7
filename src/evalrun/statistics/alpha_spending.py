"""One error level over tests that come one after the other, when nobody knows how many there will be.

The level is spent, not shared out: by look n the part n / (n + half_by) of it is gone, so that look n may use
half_by / ((n + half_by) (n + half_by - 1)) of it. These parts add up to one however many looks there are (Bonferroni
over a sequence; Foster & Stine 2008 call it alpha-spending, JRSS B 70:429-444), which holds whatever the tests have to
do with each other: they share checkpoints, so that nothing that asks for independence would do. The sequence falls
slowly at first, because the looks of a training are worth the same, and like 1 / n^2 after `half_by`.
"""

from __future__ import annotations


def share_spent(looks: int, half_by: int) -> float:
    """The share of the level that is spent after some looks.

    Args:
        looks: How many, 0 or more.
        half_by: After how many it is one half.
    """
    return looks / (looks + half_by)


def level_of_look(alpha: float, look: int, half_by: int) -> float:
    """The level of one look, so that all looks there will ever be have `alpha` together.

    Args:
        alpha: Of the whole sequence.
        look: Its number, from 1.
        half_by: After how many looks one half is spent.
    """
    return alpha * half_by / ((look + half_by) * (look + half_by - 1))
