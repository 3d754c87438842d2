"""What a sweep's results say: cells, statistics, the paper's claims and their verdicts."""
