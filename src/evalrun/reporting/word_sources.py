"""Where words come from: the tokens of results, the texts of their tasks, and tables of what is known of words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun.core.errors import AnalysisError, ConfigError, TaskError
from evalrun.core.hashing import file_sha256

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.config.schema import Config
    from evalrun.statistics.words.word_curves import Texts, Tokens
    from evalrun.tracking import Store
    from evalrun.tracking.item_files import ItemReader


def correlates_of(config: Config, store: Store, table: pd.DataFrame) -> tuple[pd.DataFrame | None, list[str]]:
    """How words go with `analysis.word_predictors` in every task that keeps tokens, and notes; None: nothing is asked.

    Args:
        config: Settings of the analysis, and where the tasks' files are.
        store: Where tokens are.
        table: Results, of one suite scored in one way.

    Raises:
        ConfigError: a list that says nothing of words.
        TaskError: one that cannot be read.
        TrackingError: the store cannot be read.
    """
    asked = config.analysis.word_predictors
    if not asked:
        return None, []
    import pandas as pd

    from evalrun.statistics.words.word_curves import CORRELATES, correlate_words
    from evalrun.statistics.words.word_values import LENGTH

    lists = word_lists([file for file in asked if file != LENGTH])
    wanted = table[["run_id", "task"]].drop_duplicates()
    frames, notes = [], []
    with store.items(wanted.itertuples(index=False, name=None)) as items:
        for task, rows in table.groupby("task", sort=False):
            if items.tokens(str(rows["run_id"].iloc[0]), str(task)) is None:
                continue
            try:
                given = tokens_of(items), texts_of(config, items), lists, config.analysis.alpha
                frames.append(correlate_words(rows, *given, with_length=LENGTH in asked))
            except (AnalysisError, TaskError) as error:
                notes.append(f"No words of task '{task}': {' '.join(error.problems)}")
    if not frames and not notes:
        notes.append("analysis.word_predictors is set, and no task has tokens: write surprisal: true in a task's file.")
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=CORRELATES), notes


def tokens_of(items: ItemReader) -> Tokens:
    """Reads the tokens of results."""

    def tokens(run_id: str, task: str) -> pd.DataFrame | None:
        found = items.tokens(run_id, task)
        return None if found is None else found.to_pandas()

    return tokens


def texts_of(config: Config, items: ItemReader) -> Texts:
    """Reads the texts of a result in its task's file, as long as they are those that were scored.

    Args:
        config: Where the tasks' files are.
        items: Gives the items, whose hashes tell.
    """

    def texts(task: str, run_id: str) -> dict[int, str]:
        """The texts by doc_id.

        Raises:
            AnalysisError: they have changed since.
            TaskError: they cannot be had.
        """
        from evalrun.tasks import task_file
        from evalrun.tasks.document_texts import document_texts

        keys = items(run_id, task, ["doc_id", "doc_hash"])
        if keys is None:
            raise AnalysisError(f"the items of task '{task}' are not in the store: evaluate it again.")
        (file,) = task_file.resolve([task], config.data_dir, config.trust_task_code, config.profile)
        now = {place: (told, text) for place, told, text in document_texts(file)}
        rows = list(zip(keys["doc_id"].tolist(), keys["doc_hash"].tolist(), strict=True))
        unlike = sum(now.get(int(doc), ("", ""))[0] != told for doc, told in rows)
        if unlike:
            raise AnalysisError(
                f"{unlike} of {len(rows)} texts of task '{task}' are not those of its data as it is now: words are "
                "taken from the texts that were scored; put that data back, or evaluate it again."
            )
        return {int(doc): now[int(doc)][1] for doc, _ in rows}

    return texts


def state_of_lists(files: Sequence[str]) -> list[str]:
    """What the files of `analysis.word_predictors` hold now, by their digests; empty of what is no file."""
    return [file_sha256(Path(file)) if Path(file).is_file() else "" for file in files]


def word_lists(files: str | Path | Sequence[str | Path]) -> dict[str, pd.DataFrame]:
    """Tables of words by their files' names.

    Raises:
        ConfigError: a file that is not there, or of an unknown kind.
        TaskError: one that cannot be read.
    """
    several = [files] if isinstance(files, (str, Path)) else list(files)
    return {str(file): word_list(Path(file)) for file in several}


def word_list(path: Path) -> pd.DataFrame:
    """A table of words; see `word_lists`."""
    import pandas as pd

    from evalrun.tasks import data_rows

    if not path.is_file() or data_rows.kind_of(path) not in data_rows.TABLES:
        kinds = ", ".join(data_rows.TABLES)
        raise ConfigError(f"'{path}' is no file with a list of words: name one that ends in {kinds}.")
    return pd.DataFrame(list(data_rows.read(path, data_rows.text_columns([path]) | {"word"})))
