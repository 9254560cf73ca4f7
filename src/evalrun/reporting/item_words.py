"""The texts of a task's items, found again in the task's file and put in the order of the results."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from evalrun.checkpoints.hub import left_alone
from evalrun.core.errors import EvalrunError

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.config.schema import Config
    from evalrun.statistics.dynamics.distractors import ItemWords, Words
    from evalrun.tasks.item_texts import ItemText


def words_of(config: Config, fetch: bool = True) -> Words:
    """Finds the texts of items by doc_id, and by doc_hash where the results have it: data that was changed says so.

    Args:
        config: Where the tasks' files are.
        fetch: Whether data that is on the hub and not here is downloaded.
    """

    @cache
    def find(task: str) -> Sequence[ItemText] | str:
        """The items of a task in order, or why there are none."""
        from evalrun.tasks import task_file  # omegaconf and more, for reports that read tasks alone
        from evalrun.tasks.item_texts import item_texts
        from evalrun.tasks.needed_data import data_of

        try:
            (file,) = task_file.resolve([task], config.data_dir, config.trust_task_code, config.profile)
            if fetch:
                return list(item_texts(file))
            if any(need.state == "missing" for need in data_of([file])):
                return (
                    f"the data of task '{task}' is on the hub and not here (`python -m evalrun prefetch task={task}`)"
                )
            with left_alone():
                return list(item_texts(file))
        except EvalrunError as error:
            return " ".join(error.problems).rstrip(".")
        except Exception as error:  # of the task's own code: a report of its results does not fail by it
            return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".rstrip(".")

    def words(task: str, keys: pd.DataFrame) -> ItemWords:
        """The texts in the order of the keys, or why there are none."""
        from evalrun.statistics.dynamics.distractors import ItemWords

        texts = find(task)
        if isinstance(texts, str):
            return ItemWords((), {}, (), f"No texts of choices: {texts}.")
        by_id = {str(text.doc_id): text for text in texts}
        hashes = keys["doc_hash"].tolist() if "doc_hash" in keys else [None] * len(keys)
        found = [by_id.get(str(doc)) for doc in keys["doc_id"]]
        own = [one for one, told in zip(found, hashes, strict=True) if one and (one.doc_hash == told or not told)]
        if len(own) < len(found):
            unlike = len(found) - len(own)
            other = f"{unlike} of {len(found)} items are not those of the task's data as it is now"
            return ItemWords((), {}, (), f"No texts of choices: {other}.")
        names = dict.fromkeys(name for one in own for name in one.columns)
        columns = {name: tuple(one.columns.get(name, "") for one in own) for name in names}
        choices, prompts, sizes = (
            tuple(getattr(one, name) for one in own) for name in ("choices", "prompt", "choice_bytes")
        )
        return ItemWords(choices, columns, prompts, choice_bytes=sizes)

    return words
