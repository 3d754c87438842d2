"""Steps, bytes and durations as text for terminals and web pages, and an estimate of the time still needed."""

LONGEST = 1e9  # seconds, about thirty years: a longer estimate is not shown


def steps_text(step: int, steps: int) -> str:
    """The progress as text: ``120/500``, or ``120`` if training has no end (`steps` is 0) or `step` is beyond it."""
    return f"{step}/{steps}" if 0 < steps >= step else str(step)


def bytes_text(count: int) -> str:
    """A number of bytes as text with a unit, for example ``1.2 MB``."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """Seconds as text, ``1:02:03`` or ``2:03``; a dash for None."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def seconds_left(*, step: int, steps: int, first_step: int | None, seconds: float) -> float | None:
    """Estimate the seconds that the remaining steps take, from the pace of this process.

    Args:
        step: the number of steps done.
        steps: the number of all steps; 0: training has no end.
        first_step: the step at which the process began; None: unknown, or training has not begun.
        seconds: the seconds of training in this process.

    Returns:
        None if training has no end or is over, if no step was done yet, or if the estimate is above `LONGEST`.
    """
    done = step - (first_step or 0)
    if not step < steps or done <= 0 or not seconds > 0:
        return None
    left = (steps - step) * (seconds / done)
    return left if left <= LONGEST else None
