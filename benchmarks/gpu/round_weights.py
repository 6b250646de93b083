"""`python -m benchmarks.gpu.round_weights MODEL OUT`: a model whose matrices are int8, for a way that is narrow."""

import sys
from pathlib import Path

from crossrank.train.packed.teachers import write_rounded

if __name__ == "__main__":
    write_rounded(Path(sys.argv[1]), Path(sys.argv[2]))
