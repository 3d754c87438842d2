"""What the results of a sweep say: cells, statistics, and verdicts on the paper's claims."""
