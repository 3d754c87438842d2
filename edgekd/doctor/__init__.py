"""The checks of ``edgekd doctor`` on this box: the machine and the files.

`peer/checks/` has the checks of keys and network.
"""
