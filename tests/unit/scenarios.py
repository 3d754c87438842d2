"""Replays scenarios: what peers teach, learn and ignore, step by step, without sockets, clocks or learners.

A scenario is a text file in tests/scenarios. Lines that begin with ``#`` are prose. Every other line that is not
indented is a command; the indented lines below it record what happened. A frame arrives at once, unless its link is
held. A heartbeat follows each step.

    peers SETTING=VALUE ...         for all peers: settings of the section [exchange], and steps (0: without end)
    up IDS [resumes STEP] [SETTING=VALUE ...]   start peers, anew or from a checkpoint of that step
    down IDS                        peers crash: frames on the way to and from them are lost
    part IDS from IDS               break the links between these peers; `heal`: all links work again
    hold IDS to IDS                 delay frames in this direction; `release IDS to IDS`: they arrive
    drop IDS to IDS                 lose delayed predictions
    garble IDS to IDS               the next predictions in this direction arrive as NaN
    jump IDS round N                the peers count as having published that round
    step IDS [x TIMES] [waited SECONDS]   all teach, then all learn; those that wait continue at their next `step`
    disagree ID ID=VALUE ...        the learner of the first peer finds these disagreements of the others
    claim ID round N [to IDS]       a liar sends a heartbeat with this round
    hello ID round N [to IDS]       a liar sends a Hello with this round on a new stream, and a true heartbeat
    lie ID round N [to IDS]         a liar sends predictions of this round
    linger IDS at SECONDS           the peers did their last step at second 0, and decide what to do now

Numbers may hold underscores. In the record, "age" is that of the lesson (if not 0), "trust" its trust (if not 1), and
"old" means that the peer has learned from all of its predictions before.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product

from in_memory import Network, Peer, predictions

from edgekd.config import from_mapping
from edgekd.protocol.counts import Counts
from edgekd.protocol.exchange import Exchange, Teach
from edgekd.protocol.messages import Goodbye, Lesson, Parting

SECONDS_A_STEP = 2.0  # of peers that linger
Ids = list[int]
One = Sequence[int]  # holds a single number


def replayed(scenario: str) -> str:
    """Replay a scenario; return its text with a new record under each command.

    Raises:
        ValueError: there is no such command.
        TypeError: the command does not take these words.
    """
    commands, lines = Commands(), list[str]()
    for line in scenario.splitlines():
        if line.startswith("    "):
            continue
        lines.append(line)
        if line and not line.startswith("#"):
            lines += [f"    {each}" for each in _do(commands, line)]
    return "\n".join(lines) + "\n"


def _do(commands: "Commands", line: str) -> list[str]:
    """``step 0 1 x 2`` calls ``step([0, 1], x=[2])``; ``disagree 0 1=0.5`` calls ``disagree([0], **{"1": 0.5})``."""
    settings = {name: _number(value) for name, value in re.findall(r"(\S+)=(\S+)", line)}
    (command, ids), *rest = re.findall(r"([a-z_]+)((?: [\d_]+)*)", re.sub(r"\S+=\S+", "", line))
    words = {word.replace("from", "others"): _ids(numbers) for word, numbers in rest}
    known = [name for name in vars(Commands) if not name.startswith("_")]
    if command not in known:
        raise ValueError(f"unknown command {command!r}; known: {', '.join(known)}")
    commands.record = []
    getattr(commands, command)(_ids(ids), **words, **settings)
    return commands.record


def _ids(text: str) -> Ids:
    return [int(number) for number in text.split()]


def _joined(ids: Iterable[int]) -> str:
    return " ".join(map(str, sorted(ids)))


def _number(text: str) -> float:
    return int(text) if text.isdecimal() else float(text)


class Commands:
    """A group of peers; each public method is a command."""

    def __init__(self) -> None:
        self._net = Network()
        self._settings: dict[str, float] = {}
        self._starts: Counter[int] = Counter()
        self.record: list[str] = []

    # -- peers and links ---------------------------------------------------------------------------------------------

    def peers(self, ids: Ids, **settings: float) -> None:
        self._settings = settings

    def up(self, ids: Ids, resumes: One = (0,), **settings: float) -> None:
        settings = self._settings | settings
        steps = int(settings.pop("steps", 0))
        for id in ids:
            exchange = Exchange(from_mapping({"train": {"steps": steps}, "exchange": settings}))
            exchange.resume(resumes[0], Counts())
            self._starts[id] += 1
            self._net.peers[id] = Peer(id, self._starts[id], steps, resumes[0], exchange)
        self._net.connect()

    def down(self, ids: Ids) -> None:
        for id in ids:
            self._net.remove(id)

    def part(self, ids: Ids, others: Ids) -> None:
        self._net.down |= set(product(ids, others))
        self._net.cut(product(ids, others))

    def heal(self, ids: Ids) -> None:
        self._net.down = set()
        self._net.connect()

    def hold(self, ids: Ids, to: Ids) -> None:
        self._net.held |= set(product(ids, to))

    def release(self, ids: Ids, to: Ids) -> None:
        self._net.held -= set(product(ids, to))
        self._net.flow(product(ids, to))

    def drop(self, ids: Ids, to: Ids) -> None:
        self._net.drop(product(ids, to))

    def garble(self, ids: Ids, to: Ids) -> None:
        self._net.garbled |= set(product(ids, to))

    # -- what peers do -----------------------------------------------------------------------------------------------

    def jump(self, ids: Ids, round: One) -> None:
        for peer in self._chosen(ids):
            peer.exchange.published = round[0]
            self._net.say(peer.id, peer.heartbeat())

    def step(self, ids: Ids, x: One = (1,), waited: One = (0,)) -> None:
        for _ in range(x[0]):
            for peer in self._chosen(ids):
                if not peer.began and (teach := peer.exchange.teach(peer.step, peer.look())):
                    self._publish(peer, teach)
                peer.began = True
            for peer in self._chosen(ids):
                self._learn(peer, waited[0])

    def disagree(self, ids: Ids, **values: float) -> None:
        self._net.peers[ids[0]].exchange.heed({int(id): value for id, value in values.items()})

    def claim(self, ids: Ids, round: One, to: Ids | None = None) -> None:
        (liar,) = self._chosen(ids)
        self._net.say(liar.id, replace(liar.heartbeat(), round=round[0]), to)

    def hello(self, ids: Ids, round: One, to: Ids | None = None) -> None:
        self._net.cut(product(ids, to or self._net.peers))
        self._net.connect(liar=ids[0], claim=round[0])

    def lie(self, ids: Ids, round: One, to: Ids | None = None) -> None:
        self._net.say(ids[0], predictions(round[0]), to)

    def linger(self, ids: Ids, at: One) -> None:
        for peer in self._chosen(ids):
            do = peer.exchange.linger(at[0], peer.look())
            if isinstance(do, Teach):
                self._publish(peer, do)
            else:
                peer.notes.append("leaves" if do is None else f"rests until {do.until:g} s")
            self._write(peer, f"at {at[0]} s")
            if do is None:
                self._net.say(peer.id, Goodbye(parting=Parting.DONE))
                self._net.remove(peer.id)

    def _chosen(self, ids: Ids) -> list[Peer]:
        return [self._net.peers[id] for id in ids]

    def _learn(self, peer: Peer, waited: float) -> None:
        group, when = peer.look(), f"step {peer.step}"
        if awaited := peer.exchange.awaits(peer.step, group, waited=waited):
            peer.notes.append(f"waits for {_joined(awaited)}")
            self._write(peer, when)
            return
        peer.notes.append(_lesson(peer.exchange.lesson(peer.step, group)))
        self._write(peer, when)
        peer.began, peer.step = False, peer.step + 1
        if peer.exchange.is_done(peer.step):
            peer.exchange.begin_lingering(0.0, seconds_a_step=SECONDS_A_STEP)
        self._net.say(peer.id, peer.heartbeat())

    def _publish(self, peer: Peer, teach: Teach) -> None:
        peer.notes.append(f"teaches {teach.round:_}")
        peer.recent = (*peer.recent, predictions(teach.round))[-2 if peer.exchange.lockstep else -1 :]
        self._net.say(peer.id, peer.recent[-1])

    def _write(self, peer: Peer, when: str) -> None:
        self.record.append(f"{peer.id} {when}: {', '.join(peer.notes)}")
        peer.notes = []


def _lesson(lesson: Lesson | None) -> str:
    if lesson is None:
        return "learns nothing"
    age = f" age {lesson.age}" if lesson.age else ""
    trust = f" trust {lesson.trust:.2g}" if lesson.trust != 1 else ""
    return f"learns {lesson.round:_} from {_joined(lesson.teachers)}{age}{trust}{'' if lesson.fresh else ' old'}"
