"""Training on packed inputs: prepared on a cheap machine, run without padding on a GPU that is rented by the minute.

What runs there needs torch, numpy and safetensors alone, and no network.
"""
