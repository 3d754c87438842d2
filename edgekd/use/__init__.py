"""Using a trained network: finding it, classifying and evaluating pictures, exporting it for other programs."""
