"""The page of `edgekd eval --html`: how well a checkpoint classifies, which mistakes it makes, and its confidence."""

import base64
import io

from torch import Tensor
from torchvision.transforms.v2 import functional as F

from edgekd.data.sources import Labelled
from edgekd.files.summary import with_error
from edgekd.lab.report.charts import BLUE, ORANGE, heat_map, reliability
from edgekd.lab.report.document import Block, Gallery, Grid, Heading, Picture, Text, to_html
from edgekd.lab.report.layout import number_text
from edgekd.printable import printable
from edgekd.use.judgement import Judgement, Mistake
from edgekd.use.scores import ClassScore, Scores

LISTED = 20  # number of the most frequent confusions
THUMBNAIL = 128  # pixels; larger images are reduced
SHARP = 64  # pixels; thumbnails up to this size are PNG, which keeps each pixel, and larger ones JPEG
_TERMS = (
    "Precision: of the images that were predicted to be of the class, the share that is. Recall: of its images, the "
    "share that was predicted right. F1: the harmonic mean of both. A dash: there are no such images."
)


def checkpoint_page(judged: Judgement, evaluation: Labelled | None, where: str) -> str:
    """Make the HTML page, which loads no other files.

    Args:
        judged: the evaluation.
        evaluation: the evaluated images; None: they are not available.
        where: a name for them.
    """
    found = judged.scores
    reached = f"Accuracy **{with_error(found.accuracy, found.samples)}** on {found.samples} images."
    about = printable(judged.about if judged.checkpoint is None else f"{judged.about}, {judged.checkpoint}")
    blocks: list[Block] = [
        Heading(1, f"Peer {judged.id} at step {judged.step}, judged on {printable(where)}"),
        Text((f"{reached} {about}, {len(found.classes)} classes.",)),
        _measures(found),
        Heading(2, "Classes"),
        Text((_TERMS,)),
        _classes(found),
        Heading(2, "Confusions"),
        *_confusions(found),
    ]
    if evaluation is not None:
        blocks += [Heading(2, "Surest mistakes"), *_mistakes(judged.mistakes, evaluation)]
    if found.bins:
        blocks += [Heading(2, "Calibration"), *_calibration(found)]
    if len(judged.heads) > 1:
        blocks += [Heading(2, "Heads"), *_heads(judged)]
    return to_html(blocks)


def _taken_for(found: Scores, index: int) -> str:
    wrong = found.most_taken_for(index)
    return "-" if wrong is None else f"{printable(wrong[0])} {wrong[1]:.0%}"


def _measures(found: Scores) -> Grid:
    rows = [
        (f"top-{k} accuracy", number_text(value), f"the class is among the {k} likeliest")
        for k, value in found.top_k.items()
        if k > 1
    ]
    error = "mean distance between the probability of the likeliest class and how often it is right"
    if not found.bins:
        error = "not known: the counts do not say it"
    own = "each class weighted as among the peer's private images, whose frequencies are added to what it says"
    if found.own_accuracy is None:
        own = "not known"
    return Grid(
        ("Measure", "Value", "Meaning"),
        (
            ("accuracy", with_error(found.accuracy, found.samples), "± is the standard error on so many images"),
            *rows,
            ("macro F1", number_text(found.macro_f1), "the mean of the classes' F1, however many images each has"),
            ("own-distribution accuracy", number_text(found.own_accuracy), own),
            (
                "expected calibration error",
                number_text(found.calibration_error),
                error,
            ),
        ),
    )


def _classes(found: Scores) -> Grid:
    def row(index: int, each: ClassScore) -> tuple[str, ...]:
        numbers = (number_text(each.precision), with_error(each.recall, each.support), number_text(each.f1))
        return (printable(each.name), str(each.support), *numbers, _taken_for(found, index))

    header = ("Class", "Images", "Precision", "Recall", "F1", "Most often taken for")
    return Grid(header, tuple(row(i, each) for i, each in enumerate(found.classes)))


def _confusions(found: Scores) -> list[Block]:
    names = [each.name for each in found.classes]
    picture = Picture(
        file="",
        alt="Confusion matrix",
        caption="A row is a class, a column what was predicted. The stronger the colour, the larger the row's share.",
        panels=(heat_map(found.confusion, names),),
        legend=(("right", BLUE), ("wrong", ORANGE)),
        scrolls=True,
    )
    wrong = [
        (int(count), i, j) for i, row in enumerate(found.confusion) for j, count in enumerate(row) if i != j and count
    ]
    rows = tuple(
        (printable(names[i]), printable(names[j]), str(count), f"{count / found.classes[i].support:.0%}")
        for count, i, j in sorted(wrong, key=lambda each: (-each[0], each[1:]))[:LISTED]
    )
    if not rows:
        return [picture, Text(("There are none.",))]
    return [picture, Grid(("Class", "Predicted", "Images", "Of the class"), rows, "The most frequent ones.")]


def _mistakes(mistakes: tuple[Mistake, ...], evaluation: Labelled) -> list[Block]:
    if not mistakes:
        return [Text(("There are none.",))]
    about = (
        "The network is sure, and the label says something else. Some of these labels may be wrong. The pictures are "
        "as the network sees them."
    )
    return [
        Text((about,)),
        Gallery(tuple((_thumbnail(evaluation.images[each.place]), _lines(each)) for each in mistakes)),
    ]


def _lines(mistake: Mistake) -> tuple[str, ...]:
    file = f"image {mistake.place}" if mistake.file is None else "/".join(mistake.file.parts[-2:])
    said = f"{printable(mistake.predicted)} {mistake.probability:.3f}"
    return (said, f"label: {printable(mistake.label)}", printable(file))


def _thumbnail(image: Tensor) -> str:
    picture = F.to_pil_image(image)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    kind, file = ("png" if max(picture.size) <= SHARP else "jpeg"), io.BytesIO()
    picture.save(file, kind, quality=88)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _calibration(found: Scores) -> list[Block]:
    kind = "more" if (found.confidence or 0) > found.accuracy else "less"
    about = (
        f"The likeliest class has a probability of {number_text(found.confidence)} on average, and is right in "
        f"{number_text(found.accuracy)} of the cases: the network is {kind} sure than right. The expected calibration "
        f"error is **{number_text(found.calibration_error)}**."
    )
    bins = [(each.confidence, each.accuracy, each.images / found.samples) for each in found.bins]
    picture = Picture(
        file="",
        alt="Reliability",
        caption="Each point is a range of probabilities, the larger the more images. Below the dotted line: too sure.",
        panels=(reliability(bins),),
    )
    rows = tuple(
        (
            f"{each.low:.1f} to {each.high:.1f}",
            str(each.images),
            number_text(each.confidence),
            with_error(each.accuracy, each.images),
        )
        for each in found.bins
    )
    header = ("Probability", "Images", "Mean probability", "Accuracy")
    return [Text((about,)), picture, Grid(header, rows, folded="The numbers of the chart")]


def _heads(judged: Judgement) -> list[Block]:
    ranks = [k for k in judged.scores.top_k if k > 1]
    header = ("Head", "Accuracy", *(f"Top-{k}" for k in ranks), "Macro F1", "Own distribution", "Calibration error")
    rows = tuple(
        (
            str(number),
            with_error(each.accuracy, each.samples),
            *(number_text(each.top_k[k]) for k in ranks),
            number_text(each.macro_f1),
            number_text(each.own_accuracy),
            number_text(each.calibration_error),
        )
        for number, each in enumerate(judged.heads)
    )
    return [Text((f"Head {judged.head} gives the peer's answers.",)), Grid(header, rows)]
