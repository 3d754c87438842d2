"""What peers say of themselves in tests, and what they have agreed on."""

from dataclasses import replace

from edgekd.protocol.messages import Contract, Encoding, Hello

CONTRACT = Contract(
    public_sha256="ab" * 32, public_batch=4, classes=3, heads=1, temperature=1.0, augment="crop", mode="async"
)


def hello(id: int, instance: int | None = None, **changes: object) -> Hello:
    base = Hello(
        major=1,
        minor=0,
        id=id,
        instance=1000 + id if instance is None else instance,
        contract=CONTRACT,
        encodings=(Encoding.FLOAT16, Encoding.FLOAT32),
        newest_round=-1,
        address="",
    )
    return replace(base, **changes)  # type: ignore[arg-type]
