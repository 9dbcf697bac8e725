"""What other programs call our keys and options. Free of torch.

For suggestions alone: a synonym is refused, and the message names the key that is meant.
"""

from collections.abc import Collection, Iterator

WORDS = {
    **{"learning_rate": "lr", "betas_schedule": "schedule", "cfg": "classifier_free", "cfg_scale": "scale"},
    **{"square": "mse", "l2": "mse", "absolute": "l1", "mae": "l1", "smooth_l1": "huber"},
    **{"given": "custom", "betas": "custom", "start_from": "init_from", "accumulate": "grad_accum_steps"},
    **{"gradient_accumulation_steps": "grad_accum_steps", "accumulate_grad_batches": "grad_accum_steps"},
    **{"others": "extra_decays", "ema_decay": "decay", "max_steps": "steps", "num_steps": "steps", "epsilon": "eps"},
    **{"num_inference_steps": "steps", "guidance_scale": "scale", "gradient_clip_val": "clip"},
    **{"each": "samples_per_image"},
}
"""Names of options and last parts of keys → ours, looked for among the options or in the same node."""

NODES = {
    **{"model": "network", "unet": "network", "net": "network", "backbone": "network", "diffusion_model": "network"},
    **{"vae": "first_stage", "ae": "first_stage", "autoencoder": "first_stage", "vqgan": "first_stage"},
    **{"trainer": "training", "train": "training", "optim": "optimizer", "dataset": "data", "dataloader": "data"},
    **{"noise_schedule": "schedule", "noise_scheduler": "schedule", "eval": "evaluation", "logger": "tracking"},
    **{"wandb": "tracking", "conditioning": "conditioner", "cond_stage": "conditioner", "sampling": "sampler"},
}
"""First parts of keys, and whole keys → our nodes and groups."""

# Ours, as one or more keys → what others say. Of the keys those are named that exist in the composition; a key after
# an option (GROUP=OPTION KEY) exists with some options alone.
_KEYS = {
    "data.size": "size resolution image_size img_size image_resolution crop_size height width data.resolution "
    "data.image_size data.img_size data.crop_size network.image_size",
    "data": "dataset dataset_name train_dataset data.name data.dataset data.type",
    "data=image_folder data.root": "root data_root data_dir data_path datadir dataroot dataset_path dataset_dir folder "
    "train_data_dir image_dir images_dir image_folder data.path data.dir data.folder data.data_dir data.data_root "
    "data.data_path data.image_dir data.train_dir path",
    "data=image_folder data.captions": "captions caption_file caption_column data.caption_file",
    "data=image_folder data.validation_fraction": "val_split validation_split val_fraction data.val_split test_size",
    "data.limit": "limit max_images max_train_samples subset data.max_images data.num_images",
    "optimizer.lr first_stage.training.lr": "lr learning_rate base_lr base_learning_rate max_lr peak_lr training.lr "
    "training.learning_rate training.base_learning_rate network.lr network.base_learning_rate optimizer_lr",
    "first_stage.training.lr": "first_stage.lr first_stage.learning_rate first_stage.base_learning_rate",
    "optimizer.weight_decay": "wd weight_decay training.weight_decay",
    "optimizer.betas": "betas adam_betas adam_beta1 adam_beta2 beta1 beta2 training.betas",
    "optimizer": "optim training.optimizer optimizer_name",
    "training.steps first_stage.training.steps": "epochs max_epochs num_epochs n_epochs num_train_epochs train_steps "
    "num_train_steps max_train_steps training_steps max_steps total_steps iterations num_iterations n_iters num_iters "
    "max_iters train_iterations training.epochs training.max_epochs training.num_epochs training.max_steps "
    "training.num_steps training.train_steps training.num_train_steps training.iterations",
    "training.batch_size first_stage.training.batch_size runtime.batch_size": "batch_size bs train_batch_size "
    "per_device_train_batch_size per_gpu_batch_size global_batch_size micro_batch_size data.batch_size "
    "data.train_batch_size training.train_batch_size",
    "runtime.batch_size": "eval_batch_size val_batch_size test_batch_size sample_batch_size inference_batch_size",
    "runtime.grad_accum_steps": "gradient_accumulation_steps accumulate_grad_batches grad_accum accumulation_steps "
    "grad_accum_steps training.accumulate_grad_batches training.gradient_accumulation_steps",
    "training.clip": "clip grad_clip clip_grad gradient_clip gradient_clip_val max_grad_norm clip_grad_norm "
    "training.max_grad_norm training.grad_clip training.gradient_clip_val",
    "training.warmup_steps": "warmup warmup_steps lr_warmup_steps num_warmup_steps warm_up_steps training.warmup",
    "training.decay": "lr_scheduler lr_schedule lr_scheduler_type lr_decay training.lr_scheduler",
    "training.ema.decay": "ema ema_decay ema_rate use_ema training.ema_decay training.ema_rate network.ema_decay",
    "training.loss": "loss loss_type criterion training.loss_type diffusion.loss",
    "training.validate_every": "val_every eval_every eval_steps validation_steps validate_every val_check_interval "
    "sample_every training.val_every training.eval_every training.val_check_interval",
    "training.snapshots runtime.checkpoint_seconds": "save_every save_steps save_interval checkpoint_every "
    "checkpointing_steps training.save_every training.checkpoint_every",
    "runtime.threads": "num_workers workers n_workers dataloader_num_workers data.num_workers n_jobs threads "
    "num_threads omp_num_threads training.num_workers",
    "runtime.devices": "devices gpus n_gpus num_gpus ngpu num_devices world_size num_processes nproc_per_node "
    "training.devices training.gpus runtime.gpus",
    "runtime.device": "device gpu cuda use_cuda accelerator training.device training.accelerator",
    "runtime.precision": "fp16 bf16 amp use_amp half autocast precision mixed_precision dtype training.fp16 "
    "training.mixed_precision runtime.fp16 runtime.mixed_precision",
    "runtime.strategy": "strategy ddp fsdp training.strategy distributed",
    "runtime.compile": "compile torch_compile use_compile training.compile",
    "seed": "seed_everything random_seed manual_seed global_seed rng_seed training.seed runtime.seed",
    "out store.path": "output_dir out_dir outdir output output_path save_dir save_path log_dir logdir results_dir "
    "results_folder work_dir workdir checkpoint_dir ckpt_dir default_root_dir training.default_root_dir",
    "network": "model arch architecture network.name network.type",
    "network.ch": "channels base_channels model_channels num_channels block_out_channels dim network.channels "
    "network.model_channels network.base_channels network.dim network.block_out_channels",
    "network.ch_mult": "channel_mult ch_mults dim_mults channel_multipliers network.channel_mult network.dim_mults",
    "network.attn_factors": "attention_resolutions attn_resolutions network.attention_resolutions",
    "network.head_channels": "num_head_channels attention_head_dim network.num_head_channels "
    "network.attention_head_dim",
    "network.heads": "num_heads n_heads network.num_heads",
    "first_stage": "vae autoencoder ae vqgan first_stage_config",
    "first_stage.z_channels": "latent_dim latent_channels z_dim z_channels embed_dim first_stage.latent_dim "
    "first_stage.latent_channels first_stage.embed_dim",
    "first_stage=vq first_stage.n_embed": "codebook_size num_embeddings n_embed first_stage.codebook_size "
    "first_stage.num_embeddings",
    "first_stage=fsq first_stage.levels": "fsq_levels levels first_stage.fsq_levels",
    "first_stage.loss.regularizer_weight": "kl_weight first_stage.kl_weight first_stage.loss.kl_weight",
    "schedule": "noise_schedule beta_schedule noise_scheduler betas_schedule schedule.name",
    "schedule.T": "T timesteps num_timesteps num_train_timesteps diffusion_steps n_timesteps schedule.timesteps "
    "schedule.num_train_timesteps diffusion.T diffusion.timesteps diffusion.steps",
    "sampler schedule": "scheduler",
    "sampler.steps": "num_inference_steps inference_steps sampling_steps sample_steps num_sampling_steps ddim_steps "
    "sampling_timesteps nfe samples.steps sampler.num_inference_steps sampler.num_steps sampler.sampling_steps",
    "sampler.eta": "eta ddim_eta",
    "guidance=classifier_free guidance.scale": "cfg cfg_scale guidance_scale guidance_weight "
    "unconditional_guidance_scale classifier_free_guidance sampler.guidance_scale guidance.guidance_scale",
    "conditioner=class conditioner.dropout": "p_uncond uncond_prob ucg_rate cond_drop_prob "
    "class_dropout_prob conditioning_dropout_prob cfg_dropout",
    "parameterization": "prediction_type objective pred_type model_mean_type parametrization parameterisation "
    "diffusion.prediction_type",
    "weighting": "snr_gamma min_snr_gamma loss_weighting loss_weight",
    "conditioner": "cond conditioning text_encoder tokenizer num_classes n_classes class_cond conditional",
    "n samples.count": "n num_samples n_samples num_images n_images sample_size num_fid_samples num_images_per_prompt "
    "samples.num_samples samples.n",
    "tracking": "logger log_with report_to wandb",
    "tracking.project": "project wandb_project project_name tracker_project_name",
    "tracking.entity": "entity wandb_entity",
    "title": "name run_name exp_name experiment_name",
    "experiments": "experiment exp config",
    "diffusion.init_from": "ckpt ckpt_path pretrained pretrained_model pretrained_model_name_or_path finetune_from "
    "network.ckpt_path",
    "latents.flip first_stage.training.flip": "flip hflip horizontal_flip random_flip augment data.flip data.augment",
    "do": "mode action command",
    "prompt": "text",
    "task=img2img task.strength": "strength denoising_strength",
}


def _targets(ours: str) -> Iterator[str]:
    """The keys of an entry of `_KEYS`, each with the option before it that it needs."""
    option = ""
    for word in ours.split():
        if "=" in word:
            option = f"{word} "
        else:
            yield f"{option}{word}"
            option = ""


KEYS = {name: list(_targets(ours)) for ours, names in _KEYS.items() for name in names.split()}
"""Whole key of another program → ours, each perhaps with the option that it needs."""


def meant(typed: str, known: Collection[str]) -> list[str]:
    """Our keys that others call so, of those that exist; each as it is to be typed. known: keys and groups."""
    key = typed.lstrip("+~").replace("-", "_")
    first, _, rest = key.partition(".")
    moved = f"{NODES.get(first, first)}.{rest}" if rest else NODES.get(first, first)
    found = KEYS.get(key) or KEYS.get(key.lower()) or KEYS.get(moved.lower()) or [moved]
    there = [key for target in found if (key := target.rpartition(" ")[2]) in known and key != typed]
    if there:
        return there
    return [f"{target}=…" for target in found if "=" in target and target.partition("=")[0] in known]
