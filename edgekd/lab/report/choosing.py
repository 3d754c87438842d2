"""The section of a report about what to choose: a sentence for each question, and the numbers behind it."""

import math
from collections.abc import Iterable, Sequence

from edgekd.config import Config
from edgekd.lab.findings.asked import Choices, value_text
from edgekd.lab.findings.cells import data_name, settings, split_label
from edgekd.lab.findings.choice import AS_GOOD, BETTER, DEPENDS, OPEN, PLACE, WORSE, Answer, Question
from edgekd.lab.findings.stats import ACCURACY, MIN_SEEDS
from edgekd.lab.report import prose
from edgekd.lab.report.document import Block, Grid, Heading, Text
from edgekd.lab.report.layout import found_text, interval_text, number_text
from edgekd.lab.report.tables import Row, finite, told_apart

FEWER = 0.95  # of the reference's bytes; a value that sends less than this is said to send fewer bytes


def choosing_blocks(choices: Choices) -> list[Block]:
    """The first section of a report."""
    if not choices.questions:
        return [Heading(2, "What to choose"), Text((prose.NOTHING_TO_CHOOSE,))]
    titled = list(zip(choices.questions, place_titles(choices.questions), strict=True))
    blocks: list[Block] = [Heading(2, "What to choose")]
    if len(titled) > 1:
        header, rows = (
            ("Setting", "Where", "Choose", "How sure"),
            [(q.setting, title, *_choice(q)) for q, title in titled],
        )
        blocks.append(Grid(header, tuple(rows)))
    for name in dict.fromkeys(question.setting for question in choices.questions):
        asked = [(question, title) for question, title in titled if question.setting == name]
        blocks.append(Heading(3, f"{name}: {', '.join(_values(question for question, _ in asked))}"))
        blocks.append(Text(tuple(f"**{title}**: {advice(question)}" for question, title in asked)))
        blocks += [_grid(asked), *_single_grids(asked)]
    blocks.append(Text(prose.HOW_TO_CHOOSE))
    if choices.others:
        others = ", ".join(f"`--against {name}`" for name in choices.others)
        blocks.append(Text((prose.OTHERS.format(others=others),)))
    return blocks


def place_titles(questions: Sequence[Question]) -> list[str]:
    """The place of each question as text: data, split, and whatever else distinguishes the places of one setting."""
    titles: dict[Question, str] = {}
    for name in dict.fromkeys(question.setting for question in questions):
        asked = [question for question in questions if question.setting == name]
        but = [each for each in settings(asked[0].config) if each not in PLACE or each == name]
        titles |= zip(asked, told_apart([q.config for q in asked], _place, *but), strict=True)
    return [titles[question] for question in questions]


def choice_rows(choices: Choices) -> list[Row]:
    """The comparisons as rows for a file, one row each."""
    return [
        Row(
            table="choice",
            panel=title,
            data=data_name(question.config),
            split=split_label(question.config),
            label=f"{question.setting} {value_text(answer.value)} - {value_text(question.reference)}",
            n=answer.found.n,
            mean=finite(answer.accuracy),
            megabytes=finite(answer.megabytes),
            difference=finite(answer.found.effect),
            difference_low=finite(answer.found.low),
            difference_high=finite(answer.found.high),
            verdict=answer.verdict,
            p=finite(answer.p),
        )
        for question, title in zip(choices.questions, place_titles(choices.questions), strict=True)
        for answer in question.answers
    ]


def advice(question: Question) -> str:
    """A sentence with the value to choose, and how sure that is."""
    reference, answers = f"`{value_text(question.reference)}`", question.answers
    if not any(answer.found.n for answer in answers):
        return f"no cell differs from one with {reference} in this setting alone, so nothing can be said here."
    if all(answer.found.n < MIN_SEEDS for answer in answers):
        seen = max(answer.found.n for answer in answers)
        return (
            f"nothing is decided, since a verdict takes {MIN_SEEDS} seeds and there {'is' if seen == 1 else 'are'} "
            f"{seen}. Run the same sweep with more values of `--seed`."
        )
    better = _better(question)
    said = [_choose(better[0], reference)] if better else [_keep(question, reference)]
    if better[1:]:
        said.append(f"{_listed(better[1:])} {_are(better[1:])} better than {reference}, too.")
    return " ".join([*said, *_rest(answers, reference)])


def p_text(p: float) -> str:
    """A p value as text, ``0.012`` or ``< 0.001``; a dash for NaN."""
    return "-" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _better(question: Question) -> list[Answer]:
    """The values that are better than the reference, the best first."""
    return sorted((a for a in question.answers if a.verdict == BETTER), key=lambda answer: -answer.found.effect)


def _none_better(question: Question) -> bool:
    """Whether it is shown that no value is better than the reference by the margin."""
    return all(a.found.high < ACCURACY.margin and a.verdict != DEPENDS for a in question.answers)


def _choice(question: Question) -> tuple[str, str]:
    """The value to choose, and how sure that is, in a few words."""
    reference = f"`{value_text(question.reference)}`"
    if all(answer.found.n < MIN_SEEDS for answer in question.answers):
        return "-", f"nothing is decided: fewer than {MIN_SEEDS} seeds"
    if better := _better(question):
        best = better[0]
        return f"`{value_text(best.value)}`", f"{found_text(best.found)} over {reference}, {_seeds_and_p(best)}"
    if any(answer.verdict == DEPENDS for answer in question.answers):
        return reference, "it depends on the other settings"
    if _none_better(question):
        return reference, f"shown: no other value is better by {ACCURACY.margin:g}"
    return reference, f"open: another value may be better by {ACCURACY.margin:g}"


def _seeds_and_p(answer: Answer) -> str:
    p = p_text(answer.p)
    return f"{answer.found.n} seeds, p {p if p.startswith('<') else f'= {p}'}"


def _choose(best: Answer, reference: str) -> str:
    return (
        f"choose `{value_text(best.value)}`. Its accuracy is {best.found.effect:.3f} higher than that of {reference} "
        f"(95 % interval {best.found.low:.3f} to {best.found.high:.3f}, {_seeds_and_p(best)})."
    )


def _keep(question: Question, reference: str) -> str:
    margin = f"{ACCURACY.margin:g}"
    if _none_better(question):
        return f"keep {reference}: it is shown that no other value is better by {margin}."
    if any(answer.verdict == DEPENDS for answer in question.answers):
        return f"keep {reference} unless the other settings are among those under which another value is better."
    return f"keep {reference} for now: no other value is shown to be better by {margin}, but one of them may be."


def _rest(answers: Iterable[Answer], reference: str) -> list[str]:
    """Sentences about the values that are not better."""
    of = {name: [a for a in answers if a.verdict == name] for name in (AS_GOOD, WORSE, DEPENDS, OPEN)}
    said = []
    if alike := of[AS_GOOD]:
        said.append(f"{_listed(alike)} {_are(alike)} as good as {reference}, within {ACCURACY.margin:g}.")
    said += [
        f"`{value_text(a.value)}` sends {1 - a.megabytes / a.megabytes_of_reference:.0%} fewer bytes.".replace(
            "%", " %"
        )
        for a in alike
        if a.megabytes < FEWER * a.megabytes_of_reference
    ]
    if worse := of[WORSE]:
        said.append(f"{_listed(worse)} {_are(worse)} worse, by {_range([-a.found.effect for a in worse])}.")
    said += [
        f"For `{value_text(a.value)}` it depends on the other settings: under single ones the difference goes from "
        f"{_signed(a.least)} to {_signed(a.most)}, so their mean is no answer."
        for a in of[DEPENDS]
    ]
    if alone := [answer for answer in of[OPEN] if not answer.found.n]:
        said.append(f"No cell of {_listed(alone)} differs from one of {reference} in this setting alone.")
    if undecided := [answer for answer in of[OPEN] if answer.found.n]:
        named = ", ".join(f"`{value_text(a.value)}` {found_text(a.found)}" for a in undecided)
        said.append(f"Open, shown neither to differ by {ACCURACY.margin:g} nor to be within it: {named}.")
    return said


def _grid(asked: Sequence[tuple[Question, str]]) -> Grid:
    """A table with a row for each comparison; with the bytes if they differ."""
    sizes = any(_sends_otherwise(answer) for question, _ in asked for answer in question.answers)
    header = (
        *("Where", "Value", "Accuracy", "Against", "Accuracy of that", "Difference [95 % interval]", "p", "n"),
        *("Settings", "From, to", *(["MB sent", "Against"] if sizes else []), "Verdict"),
    )
    rows = tuple(
        (
            title,
            f"`{value_text(a.value)}`",
            number_text(a.accuracy),
            f"`{value_text(question.reference)}`",
            number_text(a.of_reference),
            found_text(a.found),
            p_text(a.p),
            str(a.found.n),
            str(len(a.single)),
            f"{_signed(a.least)}, {_signed(a.most)}" if len(a.single) > 1 else "-",
            *([_megabytes(a.megabytes), _megabytes(a.megabytes_of_reference)] if sizes else []),
            a.verdict,
        )
        for question, title in asked
        for a in question.answers
    )
    return Grid(header, rows, cards=True)


def _single_grids(asked: Sequence[tuple[Question, str]]) -> list[Grid]:
    """Tables of all combinations of the other settings, for values that are better in some and worse in others."""
    header = ("Other settings", "Value", "Against", "Difference [95 % interval]", "n")
    grids = []
    for question, title in asked:
        kinds = [dict(kind) for a in question.answers if a.verdict == DEPENDS for kind, _ in a.single]
        varied = [name for name in settings(question.config) if len({kind.get(name) for kind in kinds}) > 1]
        rows = tuple(
            (
                ", ".join(f"{name} {value_text(dict(kind)[name])}" for name in varied),
                f"`{value_text(answer.value)}`",
                f"`{value_text(question.reference)}`",
                found_text(found),
                str(found.n),
            )
            for answer in question.answers
            if answer.verdict == DEPENDS
            for kind, found in sorted(answer.single, key=lambda each: each[1].effect)
        )
        if rows:
            grids.append(Grid(header, rows, folded=f"{question.setting} on {title}, under each of the other settings"))
    return grids


def _sends_otherwise(answer: Answer) -> bool:
    return abs(answer.megabytes - answer.megabytes_of_reference) > (1 - FEWER) * answer.megabytes_of_reference


def _megabytes(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def _place(config: Config) -> str:
    liars, heard = config.exchange.liars or 0, config.data.clients - 1
    lying = f", {liars} of {heard} neighbours {'lies' if liars == 1 else 'lie'}" if liars else ""
    return f"{data_name(config)}, {split_label(config)}{lying}"


def _values(questions: Iterable[Question]) -> list[str]:
    """All compared values, the reference of each question first."""
    return list(dict.fromkeys(value_text(v) for q in questions for v in (q.reference, *(a.value for a in q.answers))))


def _listed(answers: Sequence[Answer]) -> str:
    names = [f"`{value_text(answer.value)}`" for answer in answers]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _are(answers: Sequence[Answer]) -> str:
    return "is" if len(answers) == 1 else "are"


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.3f}", f"{max(values):.3f}"
    return low if low == high else f"{low} to {high}"


def _signed(value: float) -> str:
    return interval_text(value, None, None)
