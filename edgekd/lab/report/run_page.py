"""The page ``report.html`` of `edgekd run`: what each peer reached alone and together, and who taught it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edgekd.files.evaluation_file import Counted
from edgekd.files.history import Curve, History
from edgekd.files.summary import SURE, PeerSummary, Summary, with_error
from edgekd.lab.report.charts import BLUE, GREEN, ORANGE, curves, gain_map
from edgekd.lab.report.document import Block, Grid, Heading, Picture, Text, to_html
from edgekd.lab.report.gains import ALONE, BALANCED, ClassGain, class_gains, gain_text
from edgekd.lab.report.layout import number_text
from edgekd.learning.evaluation import Confusion
from edgekd.printable import printable

DRAWN = 12  # largest number of peers with charts of their own
MAPPED = 60  # the map of gains is shown only up to so many classes
ACROSS = 20  # and up to so many peers; the tables have all
TOGETHER = "together"
_LOOKS = {TOGETHER: (BLUE, "-"), BALANCED: (GREEN, "-."), ALONE: (ORANGE, "--")}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStory:
    """Everything that the page shows."""

    title: str
    summary: Summary
    curves: Mapping[str, Mapping[int, Curve]]  # "together" or a baseline -> peer id -> accuracy over steps
    counted: Mapping[int, Counted]  # peer id -> its last evaluation
    alone: Mapping[str, Mapping[int, Confusion]] = field(default_factory=dict)  # baseline -> peer id -> its counts
    histories: Mapping[int, History]


def run_page(story: RunStory) -> str:
    """Make the HTML page, which loads no other files."""
    samples = max((peer.evaluation_samples for peer in story.summary.peers), default=0)
    blocks: list[Block] = [
        Heading(1, printable(story.title)),
        _reached(story.summary),
        Text((f"± is the standard error of an accuracy on {samples} evaluation images.",)),
        Heading(2, "Accuracy over the steps"),
        _accuracies(story),
        Heading(2, "Gain by class"),
        *_gains(story),
        Heading(2, "Who taught whom"),
        *_taught(story),
        Heading(2, "Losses"),
        _losses(story),
        Heading(2, "Messages"),
        _messages(story.summary),
    ]
    return to_html(blocks)


def _reached(summary: Summary) -> Grid:
    columns = [(name, of) for name, of in ((ALONE, summary.baseline), (BALANCED, summary.balanced)) if of]
    rows = []
    for peer in summary.peers:
        before = [_accuracy(next((each for each in of.peers if each.id == peer.id), None)) for _, of in columns]
        rows.append((str(peer.id), str(peer.private_samples), str(peer.steps), *before, _accuracy(peer)))
    means = [number_text(of.mean_accuracy) for _, of in columns]
    rows.append(("mean", "", "", *means, number_text(summary.mean_accuracy)))
    header = ("Peer", "Private images", "Steps", *(name.capitalize() for name, _ in columns), "Together")
    caption = ""
    if summary.pooled is not None:
        caption = f"One model on all shards, what sharing the images would give: {number_text(summary.pooled)}."
    return Grid(header, tuple(rows), " ".join(filter(None, (caption, summary.older_accuracies))))


def _accuracy(peer: PeerSummary | None) -> str:
    return "-" if peer is None else with_error(peer.accuracy, peer.evaluation_samples)


def _accuracies(story: RunStory) -> Picture:
    names = [name for name in _LOOKS if name in story.curves]
    panels = tuple(
        curves(
            {name: (story.curves[name].get(peer.id, ()), *_LOOKS[name]) for name in names},
            f"peer {peer.id}",
            "accuracy",
            (0, 1),
        )
        for peer in story.summary.peers[:DRAWN]
    )
    return Picture(
        file="",
        alt="Accuracy over the steps",
        caption=_shown(story),
        panels=panels,
        legend=tuple((name, _LOOKS[name][0]) for name in names),
    )


def _shown(story: RunStory) -> str:
    count = len(story.summary.peers)
    return f"The first {DRAWN} of {count} peers." if count > DRAWN else "A panel for each peer."


def _gains(story: RunStory) -> list[Block]:
    ids = [peer.id for peer in story.summary.peers]
    gains = class_gains(story.counted, story.alone, ids)
    if not story.counted:
        return [Text(("No peer was evaluated.",))]
    names = next(iter(story.counted.values())).classes
    tables: list[Block] = [
        _gain_table(f"Peer {id}: {len(names)} classes", names, gains[id]) for id in ids if id in story.counted
    ]
    if not story.alone:
        about = "Run with `--baseline` to see what each peer would have reached alone, and so what it has gained."
        return [Text((about,)), *tables]
    against = BALANCED if BALANCED in story.alone else ALONE
    about = (
        f"The gain is the accuracy on the images of the class, together minus {against}: what the neighbours added. "
        f"A star marks a gain or a loss of more than {SURE:g} standard errors; without one it may be chance."
    )
    blocks: list[Block] = [Text((about,)), Text(tuple(_gained(id, names, gains[id]) for id in ids))]
    if len(names) <= MAPPED and len(ids) <= ACROSS:
        values = [[np.nan if g.gain is None else g.gain for g in gains[id]] for id in ids]
        blocks.append(
            Picture(
                file="",
                alt="Gain by class",
                caption="Gain in accuracy of each peer by class. Blue is a gain, orange a loss.",
                panels=(gain_map(np.array(values).T, names, [f"peer {id}" for id in ids]),),
                scrolls=True,
            )
        )
    return [*blocks, *tables]


def _gained(id: int, names: tuple[str, ...], gains: tuple[ClassGain, ...]) -> str:
    """A sentence with the gains and losses of a peer that are sure."""
    sure = sorted(((g.gain, name) for g, name in zip(gains, names, strict=True) if g.gain is not None and g.sure))
    lost = [f"{printable(name)} {value:+.2f}" for value, name in sure if value < 0]
    gained = [f"{printable(name)} {value:+.2f}" for value, name in reversed(sure) if value > 0]
    parts = [f"{kind} {', '.join(of)}" for kind, of in (("gained", gained), ("lost", lost)) if of]
    return f"Peer {id} {' and '.join(parts) if parts else 'has no gain or loss that is sure'}."


def _gain_table(title: str, names: tuple[str, ...], gains: tuple[ClassGain, ...]) -> Grid:
    lone = list(gains[0].alone)
    header = ("Class", "Private images", "Evaluated", *(name.capitalize() for name in lone), "Together")
    rows = tuple(
        (
            printable(name),
            "-" if each.private is None else str(each.private),
            str(each.images),
            *(number_text(each.alone[baseline]) for baseline in lone),
            number_text(each.together),
            *([gain_text(each)] if lone else []),
        )
        for name, each in zip(names, gains, strict=True)
    )
    return Grid((*header, *(["Gain"] if lone else [])), rows, folded=title)


def _taught(story: RunStory) -> list[Block]:
    ids = [peer.id for peer in story.summary.peers]
    teachers = sorted({*ids} | {teacher for each in story.histories.values() for teacher in each.taught})
    rows = []
    for id in ids:
        history = story.histories.get(id, History())
        cells = ["" if teacher == id else str(history.taught.get(teacher, 0)) for teacher in teachers]
        rows.append((f"peer {id}", str(history.steps), str(history.lessons), *cells))
    header = ("Learner", "Steps", "With a lesson", *(f"Taught by {teacher}" for teacher in teachers))
    about = "In so many steps the learner has learned from predictions of that teacher, old ones included."
    return [Text((about,)), Grid(header, tuple(rows))]


def _losses(story: RunStory) -> Picture:
    panels = tuple(
        curves(
            {
                "labels": (story.histories[peer.id].labels, ORANGE, "-"),
                "neighbours": (story.histories[peer.id].distil, BLUE, "-"),
            },
            f"peer {peer.id}",
            "loss",
        )
        for peer in story.summary.peers[:DRAWN]
        if peer.id in story.histories
    )
    legend = (("of the labels", ORANGE), ("of the neighbours' predictions", BLUE))
    caption = (
        f"{_shown(story)} The losses of a step, before they are weighted; means of some steps where there are many."
    )
    return Picture(file="", alt="Losses", caption=caption, panels=panels, legend=legend)


def _messages(summary: Summary) -> Grid:
    rows = tuple(
        (
            str(peer.id),
            f"{peer.bytes_sent / 1000:,.1f}",
            f"{peer.bytes_received / 1000:,.1f}",
            str(peer.replaced),
            ", ".join(f"{printable(reason)} {count}" for reason, count in peer.refused.items() if count) or "none",
        )
        for peer in summary.peers
    )
    caption = "Payload of predictions. Replaced: predictions that a newer one took the place of before they were sent."
    return Grid(("Peer", "kB sent", "kB received", "Replaced", "Refused"), rows, caption)
