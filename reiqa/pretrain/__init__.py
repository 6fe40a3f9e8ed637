"""MoCo-v2 pretraining of both experts: one engine, two sources of views."""

from reiqa.params import ExpertName, Params


def make_expert(expert: ExpertName, params: Params) -> None:
    """Pretrain an expert, or import its weights where the parameters say so.

    Raises:
        BadInputError: its inputs are missing, or its checkpoint does not fit.
    """
    if params.expert(expert).source == "pretrain":
        from reiqa.pretrain import loop

        loop.pretrain(expert, params)
    else:
        from reiqa import encoders

        encoders.import_expert(expert, params)
