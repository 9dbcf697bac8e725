"""judge: real images and their annotations → a network that recognises what images show."""

from collections.abc import Iterator

from ablatent.stages.kind_base import Check, Config, JobGraph, Size, StageKind
from ablatent.stages.options import gives_features, judged, task_declares
from ablatent.stages.stage import Stage


class JudgeKind(StageKind):
    """Decided by `judge`, the images and the annotations."""

    name = "judge"
    trained = True
    training_key = "judge.training"
    sized_by = ("judge", "data")

    def stages(self, job: JobGraph) -> dict[str, Stage]:
        if not judged(job.config) or not (task_declares(job.config, "scored") or gives_features(job.config)):
            return {}
        return {self.name: self.stage(job.config["judge"], {}, job.annotated, job.data)}

    def checks(self, config: Config) -> Iterator[Check]:
        from ablatent.stages.judge.check import check_judge

        what = {name: config[name] for name in ("judge", "conditioner", "data", "guidance")}
        what["gives_features"] = gives_features(config)
        yield Check(self.name, what, lambda: check_judge(config))

    def sizes(self, config: Config) -> list[Size]:
        from ablatent.stages.judge.check import judge_size

        return [judge_size(config)]
