"""What ``edgekd doctor`` looks at beside `edgekd/doctor/`: the keys, and the network up to the neighbours."""
