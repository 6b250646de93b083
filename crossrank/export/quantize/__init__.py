"""int8 quantisation: a scale for each token, SmoothQuant, the ladder of what stays in fp32, and the usual presets."""
