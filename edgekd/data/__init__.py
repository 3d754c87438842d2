"""Images and labels: where they come from, how they are split among peers, and the public file."""
