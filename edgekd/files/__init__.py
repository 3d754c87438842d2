"""The files that edgekd writes: run folders, checkpoints, summaries, plots."""
