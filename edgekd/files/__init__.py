"""What edgekd writes to disk: run folders, checkpoints, summaries, plots."""
