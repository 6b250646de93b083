"""What is exported, and what a variant may lose: the options of `export-onnx`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from crossrank.inference.ranker.manifest import Budget


class ExportOptions(BaseModel):
    """What is exported, and what it may lose against PyTorch in fp32."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    variants: tuple[str, ...] = Field(
        ("auto",),
        description="Names of variants: auto, fp32, pruned, fp16, qint8_per_token, and the dynamic int8 presets "
        "quint8_avx2, qint8_avx512, qint8_avx512_vnni and qint8_arm64.",
    )
    eval_sets: tuple[Path, ...] = Field(
        (),
        description="Evaluation set to compare on; repeatable. Default: functions of Python's standard library.",
    )
    allow_easy_eval_sets: bool = Field(
        False, description="Take evaluation sets too on whose candidates BM25 alone has an nDCG@10 above 0.9."
    )
    max_queries: int = Field(100, ge=1, description="Queries of each evaluation set to compare on.")
    budget: Budget = Field(default_factory=Budget, description="What a variant may lose.")
    atol: float = Field(1e-4, ge=0, description="Largest error of a logit of a variant in fp32.")
    opset: int | None = Field(None, ge=1, description="ONNX opset of the fp32 graph. Default: optimum's choice.")
    per_channel: bool = Field(
        True, description="Give each output channel of a weight its own scale in the int8 presets."
    )
