"""The checks of ``edgekd doctor`` that need `peer`: the keys, the checkpoint, the network, the neighbours."""
