"""``edgekd`` whose N-th training step fails with a given error message, as if the memory were full.

python short_of_memory.py WORDS N ARGUMENTS...

WORDS is the message, as some device words it.
"""

import sys

from edgekd.learning.learner import Learner

words, at, *arguments = sys.argv[1:]
learn = Learner.learn


def fails(self: Learner, lesson: object, **more: object) -> object:
    if self.step + 1 == int(at):
        raise RuntimeError(words)
    return learn(self, lesson, **more)  # type: ignore[arg-type]


Learner.learn = fails  # type: ignore[assignment,method-assign]

if __name__ == "__main__":
    from edgekd.cli import main

    main(arguments)
