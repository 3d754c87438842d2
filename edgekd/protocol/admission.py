"""Admission: may a caller become a neighbour? Pure: the driver probes, says goodbye and drops streams as it is told."""

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
    """What becomes of a caller."""

    WELCOME = "welcome"  # it becomes a neighbour
    REPLACE = "replace"  # it becomes a neighbour in the place of the incumbent, whose stream ends
    DUPLICATE = "duplicate"  # it is the incumbent on a second stream: the first stream stays
    REFUSE = "refuse"  # it does not become a neighbour
    PROBE = "probe"  # not decided: probe the incumbent, then ask again
    SELF = "self"  # it is this very process: end the stream quietly


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a caller is refused."""

    reason: str  # a word to count by
    here: str  # for this peer's log
    there: str  # for the caller


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """The peer at the other end of a new stream: what is known besides its Hello."""

    where: str  # "HOST:PORT" where it listens, else the host that it speaks from
    ours: str  # "HOST:PORT" where this peer listens, as seen from there
    we_dialled: bool = False  # this side has dialled the stream
    expected: int | None = None  # the id in the address that was dialled; None: the address has none, or it has dialled
    proved: Holder | None = None  # whose key it has proved to hold; None: the transport does not ask for keys
    cut_off: bool = False  # the guard has cut its id off


@dataclass(frozen=True, kw_only=True, slots=True)
class Incumbent:
    """The neighbour that is connected under the caller's id."""

    instance: int
    dialled_by: int  # the id of the side that has dialled its stream
    address: str  # where it listens, else where it speaks from
    answered: bool | None = None  # whether it has answered a probe in time; None: it was not probed


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and what both sides are told."""

    verdict: Verdict
    refusal: Refusal | None = None  # of REFUSE, and of nothing else
    farewell: Goodbye | None = None  # of REPLACE: the incumbent's goodbye; None: it is silent, so its stream just ends

    @property
    def goodbye(self) -> Goodbye | None:
        """The caller's goodbye; None: it gets none."""
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
        theirs: the caller's.
        caller: what else is known of it.
        incumbent: who is connected under its id; None: nobody. After a PROBE ask again with `answered` set.
        allow: the ids that may be neighbours; None: any.
        connected: how many neighbours are connected.
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
    """Refuse a caller while another of the same id is decided about and a second one waits."""
    message = f"peer {theirs.id} at {caller.where}: others that say so are being decided about; dial again"
    return Decision(Verdict.REFUSE, Refusal("busy", message, message))


def _beside(incumbent: Incumbent, ours: Hello, theirs: Hello, caller: Caller) -> Decision:
    """The caller or the incumbent: one of two streams under one id stays."""
    if theirs.instance == incumbent.instance:
        # Both sides keep the stream that the smaller id has dialled. If one side has dialled both, the newer stays:
        # that side would not have dialled again if it still had the older.
        if incumbent.dialled_by < (ours.id if caller.we_dialled else theirs.id):
            return Decision(Verdict.DUPLICATE)
        return Decision(Verdict.REPLACE, farewell=Goodbye(parting=Parting.DUPLICATE))
    if incumbent.answered is None:
        return Decision(Verdict.PROBE)
    if not incumbent.answered:  # half-open, after a power cut
        return Decision(Verdict.REPLACE)
    message = f"peer {theirs.id} already runs at {incumbent.address}; stop it or choose another --id"
    return Decision(Verdict.REFUSE, Refusal("id", f"refused {caller.where}: {message}", message))


def _objection(ours: Hello, theirs: Hello, caller: Caller, allow: Container[int] | None) -> Refusal | None:
    """What is wrong with the caller itself, the gravest first; None: nothing is."""
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
    """Why two peers cannot work together, one line a field; empty if they can."""
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
