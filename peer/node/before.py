"""Checks of a peer's settings before anything slow, above all torch, is loaded."""

from dataclasses import replace

from edgekd.config import LYING, Config
from edgekd.errors import ConfigError
from edgekd.printable import first_line
from edgekd.protocol.addresses import parse_address

LIARS = "liars are for `edgekd simulate` and `edgekd sweep`"
NO_FOLDER = "--resume needs --out DIR: the folder that holds the checkpoints"


def check_honest(config: Config) -> None:
    """Check that the settings ask for no liars, which only simulations have.

    Raises:
        ConfigError: they do.
    """
    for name in LYING:
        if getattr(config.exchange, name) is not None:
            raise ConfigError(f"{LIARS}: take {name} out of the file")


def check_id(config: Config, id: int) -> None:
    """Check that there is a shard for peer `id`.

    Raises:
        ConfigError: the common data set is split into too few shards.
    """
    if config.data.private is None and id >= config.data.clients:
        wanted = f"--id must be below --clients {config.data.clients}, got {id}"
        raise ConfigError(f"{wanted}: into so many shards --data is cut; with --private any id will do")


def with_defaults(config: Config, neighbours: int) -> Config:
    """The settings with a default for `wait_for`: all neighbours for a synchronous peer, none for an asynchronous one.

    Args:
        config: all settings.
        neighbours: the number of addresses that the peer dials.
    """
    if config.exchange.wait_for is not None:
        return config
    others = neighbours or config.data.clients - 1  # without --peers the others dial this peer
    wait_for = others if config.exchange.sync is not None else 0
    return replace(config, exchange=replace(config.exchange, wait_for=wait_for))


def check_wait(config: Config, neighbours: int, *, open: bool) -> None:
    """Check that as many neighbours can connect as the first step waits for.

    Args:
        config: all settings.
        neighbours: the number of addresses that the peer dials.
        open: whether other peers can connect, because this peer listens or uses discovery.

    Raises:
        ConfigError: this peer dials fewer neighbours, and no others can connect.
    """
    wanted = with_defaults(config, neighbours).exchange.wait_for or 0
    if not open and wanted > neighbours:
        flag = "--sync" if config.exchange.wait_for is None else "--wait-for"
        raise ConfigError(
            f"{flag} waits for {wanted} neighbours, and so many can never be there: this peer dials "
            f"{neighbours or 'nobody'}, and nobody can dial it; give --listen HOST:PORT, the neighbours' addresses "
            "with --peers, or --discover"
        )


def metrics_address(text: str) -> tuple[str, int]:
    """The host and port of "HOST:PORT" or "PORT"; without a host it is 127.0.0.1.

    Raises:
        ConfigError: `text` has another form.
    """
    try:
        return parse_address(text if ":" in text else f"127.0.0.1:{text}")
    except ConfigError:
        raise ConfigError(
            f"--metrics-port takes PORT or HOST:PORT, such as 9100 or 0.0.0.0:9100, got {text!r}"
        ) from None


def check_tensorboard(config: Config) -> None:
    """Check that ``--tensorboard`` can work, if it is given.

    Raises:
        ConfigError: TensorBoard is not installed, or is broken.
    """
    if config.train.tensorboard:
        try:
            import peer.node.event_file  # noqa: F401
        except Exception as error:  # with an unsuitable protobuf it is a TypeError
            why = "" if isinstance(error, ModuleNotFoundError) else f" ({first_line(error)})"
            raise ConfigError(f"--tensorboard needs TensorBoard: pip install 'edgekd[tensorboard]'{why}") from None


def check_discovery(listen: str | None) -> None:
    """Check that ``--discover`` can work for a peer that listens on "HOST:PORT" (None: nowhere).

    Raises:
        ConfigError: zeroconf is not installed, or the host is no IPv4 address of this box.
    """
    try:
        from peer.network.discovery import check_discoverable
    except ImportError:
        raise ConfigError("--discover needs zeroconf: pip install zeroconf") from None
    check_discoverable(listen)
