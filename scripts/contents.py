"""Compare what a wheel and a source archive hold with what the repository holds: contents.py WHEEL ARCHIVE.

A file that is missing from the wheel, such as a style sheet, fails only at a user's; one too many lies in everybody's
site-packages.
"""

import subprocess
import sys
import tarfile
import zipfile

FOR_GIT_ALONE = (".git", ".github/")  # .gitignore, .github/...
ADDED = ("PKG-INFO", "setup.cfg", "edgekd.egg-info/")  # by setuptools


def main(wheel: str, archive: str) -> None:
    listed = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True)
    tracked = set(listed.stdout.split("\n")) - {""}
    with zipfile.ZipFile(wheel) as opened:
        in_wheel = {name for name in opened.namelist() if ".dist-info/" not in name}
    with tarfile.open(archive) as opened_archive:
        names = (member.name.partition("/")[2] for member in opened_archive.getmembers() if member.isfile())
        in_archive = {name for name in names if not name.startswith(ADDED)}
    compare(wheel, in_wheel, {name for name in tracked if name.startswith(("edgekd/", "peer/"))})
    compare(archive, in_archive, {name for name in tracked if not name.startswith(FOR_GIT_ALONE)})


def compare(where: str, found: set[str], expected: set[str]) -> None:
    if found != expected:
        missing, more = sorted(expected - found), sorted(found - expected)
        sys.exit(f"{where}: missing {', '.join(missing) or 'nothing'}; too many {', '.join(more) or 'none'}")
    print(f"{where}: {len(found)} files, as in the repository")


if __name__ == "__main__":
    main(*sys.argv[1:])
