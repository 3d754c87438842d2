"""Who may become a neighbour, as far as its Hello says: what is wrong with it, in words for both sides. Pure."""

from collections.abc import Container
from dataclasses import dataclass

from edgekd.protocol.guard import CUT_OFF
from edgekd.protocol.messages import Hello

CUT_OFF_BECAUSE = f"cut off for {CUT_OFF:.0f} s, since too much of what it sent had to be refused"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why somebody is turned away."""

    reason: str  # a slug to count by
    here: str  # for this peer's log
    there: str  # for the other's


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """What is known of somebody besides its Hello."""

    where: str  # it listens, or speaks from
    ours: str  # where this peer listens, as seen from there
    proved: int | None = None  # the id whose key it has proved to hold; None: keys are not asked for
    dialled: int | None = None  # the id that was to be where it answered; None: it dialled, or any would do
    cut_off: bool = False


def objection(ours: Hello, theirs: Hello, caller: Caller, allow: Container[int] | None) -> Refusal | None:
    """What speaks against somebody's becoming a neighbour, the gravest first; None: nothing does.

    Args:
        ours: this peer's Hello.
        theirs: the other's.
        caller: what else is known of it.
        allow: the ids that may be neighbours; None: any.
    """
    id, where = theirs.id, caller.where
    for known, doubt in ((caller.proved, "with the key of peer {}"), (caller.dialled, "where peer {} was dialled")):
        if known not in (None, id):
            why = doubt.format(known)
            return Refusal("identity", f"refused {where}: it says it is peer {id}, {why}", why)
    if allow is not None and id not in allow:
        here = f"refused peer {id} at {where}: it is not among those of --allow"
        return Refusal("allow", here, f"peer {ours.id} does not allow peer {id}")
    if differing := differences(ours, theirs):
        here = f"peer {id} at {where} cannot work with this peer: {'; '.join(differing)}"
        return Refusal("contract", here, f"peer {ours.id} cannot work with you: {'; '.join(differences(theirs, ours))}")
    if caller.cut_off:
        return Refusal("cut-off", f"peer {id} at {where}: {CUT_OFF_BECAUSE}", CUT_OFF_BECAUSE)
    if id == ours.id:
        here = f"{where} uses this peer's own id {id}; start it with another --id"
        return Refusal("id", here, f"peer {id} already runs at {caller.ours}; choose another --id")
    return None


def differences(ours: Hello, theirs: Hello) -> list[str]:
    """Why two peers cannot work together, one line a field; empty if they can."""
    if ours.major != theirs.major:
        return [f"protocol major version: {ours.major} here, {theirs.major} there"]
    differing = ours.contract.differences(theirs.contract)
    if not set(ours.encodings) & set(theirs.encodings):
        differing.append(
            f"encodings: {', '.join(ours.encodings)} here, {', '.join(theirs.encodings) or 'none known here'} there"
        )
    return differing
