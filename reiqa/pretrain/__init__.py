"""MoCo-v2 pretraining of both experts, with one training loop and two view sources."""

from reiqa.params import ExpertName, Params


def make_expert(expert: ExpertName, params: Params) -> None:
    """Pretrain an expert, or import its weights, as the parameters specify.

    Raises:
        BadInputError: inputs are missing, or the checkpoint does not match the backbone.
    """
    if params.expert(expert).source == "pretrain":
        from reiqa.pretrain import loop

        loop.pretrain(expert, params)
    else:
        from reiqa import encoders

        encoders.import_expert(expert, params)
