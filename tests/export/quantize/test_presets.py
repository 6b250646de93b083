from crossrank.export.pipeline import ExportReport


def test_a_dynamic_preset_depends_on_its_batch_and_a_scale_for_each_token_does_not(tiny: ExportReport) -> None:
    graphs = {trial.graph.name: trial.graph for trial in tiny.trials}
    assert not graphs["qint8_avx512_vnni"].batch_invariant
    assert graphs["qint8_per_token"].batch_invariant
