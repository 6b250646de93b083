"""Calibration: the curve that turns logits into probabilities, its file, and its fit on held-out judgements."""
