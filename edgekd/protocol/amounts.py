"""How steps, bytes and times are written, in terminals and on pages, and how long the rest of a peer's steps takes."""

LONGEST = 1e9  # seconds, some thirty years: a pace that gives more is none


def steps_text(step: int, steps: int) -> str:
    """``120/500`` of steps that have an end; where it lies behind or there is none (0), the steps that are done."""
    return f"{step}/{steps}" if 0 < steps >= step else str(step)


def bytes_text(count: int) -> str:
    """``1.2 MB`` and the like."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """``1:02:03`` or ``2:03``; a dash for what is not known."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def seconds_left(*, step: int, steps: int, first_step: int | None, seconds: float) -> float | None:
    """How long the rest of the steps takes at the pace of this process.

    None: there is no end, there is no pace yet, or it would be longer than `LONGEST`.

    Args:
        step: steps done.
        steps: all; 0: without end.
        first_step: the step at which the process began; None: that is not known, or it has not begun.
        seconds: of training, in this process.
    """
    done = step - (first_step or 0)
    if not step < steps or done <= 0 or not seconds > 0:
        return None
    left = (steps - step) * (seconds / done)
    return left if left <= LONGEST else None
