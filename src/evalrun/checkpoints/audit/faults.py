"""From listings to faults: steps that share weights, steps and shards that are missing. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from evalrun.checkpoints.audit.weights import FORMATS, Listing, spell


@dataclass(frozen=True)
class Published:
    """What is published of one model (and seed), as far as it could be seen."""

    listings: Mapping[int, Listing]  # step -> what it holds
    absent: tuple[int, ...] = ()  # steps that the config releases and that are not there
    unread: Mapping[int, str] = field(default_factory=dict)  # step -> why it could not be listed
    extra: tuple[str, ...] = ()  # revisions or folders that look like steps and that the config does not release
    main: Listing | None = None  # of the hub's default branch
    unsound: Mapping[int, tuple[str, ...]] = field(default_factory=dict)  # step -> tensors that hold NaN or infinity
    dead: Mapping[int, tuple[str, ...]] = field(default_factory=dict)  # step -> matrices of zeros alone


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, or worth knowing."""

    kind: str  # shared_weights, shared_shards, missing_step, unread_step, missing_shard, missing_index, no_weights,
    # extra_step, not_finite, all_zero
    steps: tuple[int, ...]
    files: tuple[str, ...]
    format: str | None  # safetensors or bin, where it belongs to one
    sentence: str  # without the model's name
    harmless: bool = False  # it changes nothing that would be loaded


def find(published: Published) -> list[Fault]:
    """All faults of a model, those of shared weights first."""
    found: list[Fault] = []
    for fmt in FORMATS:
        found += _shared_weights(published, fmt)
        found += _shared_shards(published, fmt)
    found += _absent(published)
    found += _incomplete(published)
    found += _unsound(published)
    found += _dead(published)
    return sorted(found, key=lambda fault: fault.harmless)


def distinct(published: Published) -> int:
    """How many different weights the listed steps hold, in the format that loading would read."""
    return len({frozenset(listing.contents.values()) for listing in published.listings.values() if listing.contents})


def _complete(published: Published, fmt: str) -> dict[int, tuple[str, ...]]:
    """Step -> contents of its files of a format, where it has any."""
    held = {step: tuple(sorted(listing.of(fmt).values())) for step, listing in published.listings.items()}
    return {step: contents for step, contents in sorted(held.items()) if contents}


def _shared_weights(published: Published, fmt: str) -> Iterator[Fault]:
    """Groups of steps whose files of a format are all equal."""
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for step, contents in _complete(published, fmt).items():
        groups[contents].append(step)
    for contents, steps in groups.items():
        if len(steps) < 2:
            continue
        files = tuple(published.listings[steps[0]].of(fmt))
        what = files[0] if len(files) == 1 else f"{len(files)} {fmt} shards"
        sentence = f"{spell(steps, published.listings)} have the same {what}"
        if published.main is not None and tuple(sorted(published.main.of(fmt).values())) == contents:
            sentence += (
                ", which is also that of the main branch" if len(files) == 1 else ", which are also those of main"
            )
        sentence += f"; {_other_format(published, fmt, steps)}."
        yield Fault("shared_weights", tuple(steps), files, fmt, sentence, _unused(published, fmt, steps))


def _other_format(published: Published, fmt: str, steps: list[int]) -> str:
    """Whether the files of the other format repeat as well: if they differ, it is the conversion that went wrong."""
    (other,) = (name for name in FORMATS if name != fmt)
    held = _complete(published, other)
    beside = [held[step] for step in steps if step in held]
    if not beside:
        return f"there are no .{other} files beside them to compare"
    if len(beside) < 2:
        return f"only one of them has .{other} files"
    unlike = len(set(beside))
    if unlike == len(beside):
        return f"their .{other} files all differ, so that only the .{fmt} repeats"
    if unlike == 1:
        return f"their .{other} files repeat too"
    return f"of their .{other} files {unlike} of {len(beside)} differ"


def _shared_shards(published: Published, fmt: str) -> Iterator[Fault]:
    """Single files that steps share whose other files differ."""
    held = _complete(published, fmt)
    owners: dict[str, dict[int, str]] = defaultdict(dict)
    for step in held:
        for name, content in published.listings[step].of(fmt).items():
            owners[content].setdefault(step, name)
    shared: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for content, names in owners.items():
        if len({held[step] for step in names}) > 1:
            shared[tuple(names)].append(owners[content][min(names)])
    for steps, files in shared.items():
        sentence = f"{spell(steps, published.listings)} share {' and '.join(files)} while their other shards differ."
        yield Fault("shared_shards", steps, tuple(files), fmt, sentence, _unused(published, fmt, list(steps)))


def _unused(published: Published, fmt: str, steps: list[int]) -> bool:
    return all(published.listings[step].loaded != fmt for step in steps)


def _absent(published: Published) -> Iterator[Fault]:
    """Steps that are released and not there, that could not be listed (one fault a reason), or that no config names."""
    known = [*published.listings, *published.absent, *published.unread]
    if published.absent:
        sentence = f"{spell(published.absent, known)}: released by the config, not there."
        yield Fault("missing_step", published.absent, (), None, sentence)
    reasons: dict[str, list[int]] = defaultdict(list)
    for step, reason in published.unread.items():
        reasons[reason].append(step)
    for reason, steps in reasons.items():
        yield Fault("unread_step", tuple(steps), (), None, f"{spell(steps, known)}: could not be listed ({reason}).")
    if published.extra:
        one = len(published.extra) == 1
        sentence = (
            f"{', '.join(published.extra)}: look{'s' * one} like {'a step' if one else 'steps'}, not in the config."
        )
        yield Fault("extra_step", (), published.extra, None, sentence, harmless=True)


def _unsound(published: Published) -> Iterator[Fault]:
    """Weights that are no numbers, of local checkpoints."""
    for steps, (holding, first) in _holders(published.unsound, "tensors"):
        sentence = f"{spell(steps, published.listings)}: {holding} NaN or infinity{first}, which cannot be scored."
        yield Fault("not_finite", steps, (), "safetensors", sentence)


def _dead(published: Published) -> Iterator[Fault]:
    """Matrices of zeros, of local checkpoints: harmless before training, where some recipes begin so."""
    before = {step: tensors for step, tensors in published.dead.items() if step == 0}
    after = {step: tensors for step, tensors in published.dead.items() if step != 0}
    for part, why in ((after, "so a save or the training went wrong"), (before, "as before training")):
        for steps, (holding, first) in _holders(part, "matrices"):
            sentence = f"{spell(steps, published.listings)}: {holding} zeros alone{first}, {why}."
            yield Fault("all_zero", steps, (), "safetensors", sentence, harmless=part is before)


def _holders(held: Mapping[int, tuple[str, ...]], kind: str) -> Iterator[tuple[tuple[int, ...], tuple[str, str]]]:
    """Steps of which the same tensors are named, and these in words: who holds, and the first where it is many."""
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for step, tensors in held.items():
        groups[tensors].append(step)
    for (name, *more), steps in groups.items():
        words = (f"{1 + len(more)} {kind} hold", f", the first {name}") if more else (f"{name} holds", "")
        yield tuple(steps), words


def _incomplete(published: Published) -> Iterator[Fault]:
    """Shards and indexes that are not there; steps that lack the same are one fault."""
    lacking: dict[tuple[str, str | None, tuple[str, ...], bool], list[int]] = defaultdict(list)
    for step, listing in published.listings.items():
        if listing.loaded is None and not any(listing.lacks_index(fmt) for fmt in FORMATS):
            lacking["no_weights", None, (), False].append(step)
        for fmt, (_, index) in FORMATS.items():
            # Without its index a preferred format is passed over in silence: that is never harmless.
            unused = listing.loaded is not None and list(FORMATS).index(listing.loaded) < list(FORMATS).index(fmt)
            if listing.lacks_index(fmt) or listing.indexes.get(index) == []:
                lacking["missing_index", fmt, (index,), unused].append(step)
            if shards := listing.missing(fmt):
                lacking["missing_shard", fmt, tuple(shards), unused].append(step)
    says = {
        "no_weights": "no weights that transformers would load",
        "missing_index": "there are shards, but {} is missing or damaged",
        "missing_shard": "{} is missing",
    }
    for (kind, of, files, unused), steps in lacking.items():
        sentence = f"{spell(steps, published.listings)}: {says[kind].format(', '.join(files))}."
        yield Fault(kind, tuple(steps), files, of, sentence, unused)
