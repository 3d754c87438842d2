"""Admission: whether a caller becomes a neighbour.

A caller is a peer at the other end of a new stream. All functions are pure: they return decisions, and the driver in
`peer/network` sends probes and goodbyes and closes streams accordingly.
"""

from collections.abc import Container
from dataclasses import dataclass
from enum import Enum

from edgekd.protocol.common_data import why_public_differs
from edgekd.protocol.guard import CUT_OFF
from edgekd.protocol.holders import Holder, spoken
from edgekd.protocol.members import MAX_NEIGHBOURS
from edgekd.protocol.messages import Goodbye, Hello, Parting

CUT_OFF_BECAUSE = f"cut off for {CUT_OFF:.0f} s, since too much of what it sent had to be refused"


class Verdict(Enum):
    """The outcome for a caller. The incumbent is the neighbour that is already connected under the caller's id."""

    WELCOME = "welcome"  # it becomes a neighbour
    REPLACE = "replace"  # it becomes a neighbour and replaces the incumbent, whose stream ends
    DUPLICATE = "duplicate"  # it is the incumbent, on a second stream: the first stream stays
    REFUSE = "refuse"  # it does not become a neighbour
    PROBE = "probe"  # undecided: send the incumbent a probe, then call `admit` again
    SELF = "self"  # it is this very process, which has dialled itself: end the stream quietly


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason for refusing a caller, in words for each side."""

    reason: str  # one word, under which refusals are counted
    here: str  # the text for this peer's log
    there: str  # the text that is sent to the caller


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """What is known about the peer at the other end of a new stream, besides its Hello."""

    where: str  # "HOST:PORT" where it listens; if that is unknown, the host from which it connects
    ours: str  # "HOST:PORT" where this peer listens, as the caller sees it
    we_dialled: bool = False  # whether this side has dialled
    expected: int | None = None  # the id in the dialled address; None: it has none, or the caller has dialled
    proved: Holder | None = None  # the owner of the key it has proved to hold; None: the transport asks for no keys
    cut_off: bool = False  # whether the guard has cut off this id


@dataclass(frozen=True, kw_only=True, slots=True)
class Incumbent:
    """The neighbour that is already connected under the caller's id."""

    instance: int
    dialled_by: int  # the id of the side that dialled its stream
    address: str  # where it listens; if that is unknown, the host from which it connects
    answered: bool | None = None  # whether it answered a probe in time; None: it was not probed


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, and what both sides are told."""

    verdict: Verdict
    refusal: Refusal | None = None  # set if and only if the verdict is REFUSE
    farewell: Goodbye | None = None  # for the incumbent, with REPLACE; None: it is silent, so its stream just ends

    @property
    def goodbye(self) -> Goodbye | None:
        """The goodbye to send to the caller; None: none is sent."""
        if self.refusal is not None:
            return Goodbye(parting=Parting.REFUSED, detail=self.refusal.there)
        return Goodbye(parting=Parting.DUPLICATE) if self.verdict is Verdict.DUPLICATE else None


def admit(
    ours: Hello,
    theirs: Hello,
    caller: Caller,
    incumbent: Incumbent | None,
    *,
    allow: Container[int] | None,
    connected: int,
) -> Decision:
    """Decide whether a caller becomes a neighbour.

    Args:
        ours: this peer's Hello.
        theirs: the caller's Hello.
        caller: what else is known about the caller.
        incumbent: the neighbour that is connected under the caller's id, or None. After a PROBE, call again with
            `answered` set.
        allow: the ids that may become neighbours; None allows all.
        connected: the number of connected neighbours.
    """
    if theirs.instance == ours.instance and caller.proved in (None, ours.id):
        return Decision(Verdict.SELF)
    if refusal := _objection(ours, theirs, caller, allow):
        return Decision(Verdict.REFUSE, refusal)
    if incumbent is not None:
        return _beside(incumbent, ours, theirs, caller)
    if connected >= MAX_NEIGHBOURS and not caller.we_dialled:
        message = f"peer {theirs.id} at {caller.where}: {MAX_NEIGHBOURS} neighbours are connected already"
        return Decision(Verdict.REFUSE, Refusal("full", message, message))
    return Decision(Verdict.WELCOME)


def busy(theirs: Hello, caller: Caller) -> Decision:
    """The decision to refuse a caller because too many callers with its id wait.

    One caller of an id is being decided about, and a second one waits: a third one is refused.
    """
    message = f"peer {theirs.id} at {caller.where}: others that say so are being decided about; dial again"
    return Decision(Verdict.REFUSE, Refusal("busy", message, message))


def _beside(incumbent: Incumbent, ours: Hello, theirs: Hello, caller: Caller) -> Decision:
    """Decide which of two streams under one id stays: the caller's or the incumbent's."""
    if theirs.instance == incumbent.instance:
        # Both sides keep the stream that the peer with the smaller id has dialled. If one side has dialled both, the
        # newer stream stays: that side would not have dialled again if it still had the older one.
        if incumbent.dialled_by < (ours.id if caller.we_dialled else theirs.id):
            return Decision(Verdict.DUPLICATE)
        return Decision(Verdict.REPLACE, farewell=Goodbye(parting=Parting.DUPLICATE))
    if incumbent.answered is None:
        return Decision(Verdict.PROBE)
    if not incumbent.answered:  # the incumbent's stream is half-open, for example after a power cut
        return Decision(Verdict.REPLACE)
    message = f"peer {theirs.id} already runs at {incumbent.address}; stop it or choose another --id"
    return Decision(Verdict.REFUSE, Refusal("id", f"refused {caller.where}: {message}", message))


def _objection(ours: Hello, theirs: Hello, caller: Caller, allow: Container[int] | None) -> Refusal | None:
    """What is wrong with the caller itself, the most serious fault first; None: nothing."""
    id, where = theirs.id, caller.where
    for known, doubt in ((caller.proved, "with the key of {}"), (caller.expected, "where {} was dialled")):
        if known is not None and known != id:
            why = doubt.format(spoken(known))
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
    """The reasons why two peers cannot work together, one text for each field that differs; empty if they can."""
    if ours.major != theirs.major:
        return [f"protocol major version: {ours.major} here, {theirs.major} there"]
    fields = ours.contract.differences(theirs.contract)
    if "public_sha256" in fields:
        fields["public_sha256"] = why_public_differs(ours, theirs)
    differing = list(fields.values())
    if not set(ours.encodings) & set(theirs.encodings):
        differing.append(
            f"encodings: {', '.join(ours.encodings)} here, {', '.join(theirs.encodings) or 'none known here'} there"
        )
    return differing
