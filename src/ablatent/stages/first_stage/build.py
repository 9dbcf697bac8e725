"""first_stage: images → autoencoder weights."""

from ablatent.core.errors import StageError
from ablatent.core.files import write_json
from ablatent.core.here import program
from ablatent.core.instantiate import make
from ablatent.first_stage.base import FirstStage
from ablatent.first_stage.losses import AutoencoderLoss
from ablatent.stages.context import Context
from ablatent.stages.stored import make_first_stage
from ablatent.stages.train import save_weights, seed_initial_weights, train


def build(ctx: Context) -> None:
    """Write model.safetensors, curves.csv, panels/, summary.json; a first stage without parameters is not trained.

    Raises StageError for an imported first stage, which only do=import publishes.
    """
    config = ctx.config
    if "digest" in config:
        raise StageError(
            f"{ctx.title}: expected this imported first stage in the store; it is not there. Import it again: "
            f"{program()} do=import path={config['weights']['path']} format={config['weights']['format']}"
        )
    seed = int(config.get("seed", 0))
    seed_initial_weights(seed)
    model: FirstStage = make_first_stage(config)
    summary = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "latent_channels": model.latent_channels,
        "downsample": model.downsample,
    }
    if model.trainable:
        summary["steps"] = _train(ctx, model, seed)
    if ctx.rank:
        return
    ctx.work.check()
    save_weights(ctx, model.state_dict())
    write_json(ctx.work.files / "summary.json", summary)


def _train(ctx: Context, model: FirstStage, seed: int) -> int:
    from ablatent.training.first_stage import FirstStageTrainee, FirstStageTraining, ImageBatches

    train_config = FirstStageTraining(**ctx.config["training"])
    images = ctx.images()
    shape = model.latent_shape(*images.pixels.shape[1:3])
    batches = ImageBatches(images.pixels, images.indices("train"), shape, train_config, seed)
    validation = images.pixels[images.indices("validation")[:256]]
    trainee = FirstStageTrainee(model, make(ctx.config["loss"], AutoencoderLoss), train_config, seed, validation)
    train(ctx, trainee, batches)
    return train_config.steps
