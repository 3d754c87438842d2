"""What ``edgekd doctor`` looks at on this box: the machine and the files. `peer/checks/` looks at keys and network."""
