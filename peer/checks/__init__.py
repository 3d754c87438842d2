"""What ``edgekd doctor`` looks at beside `edgekd/doctor/`: the keys, the checkpoint, the network, the neighbours."""
