"""The schedule of latent diffusion, which its released code calls "linear"."""

from ablatent.schedules.base import Times, check_steps_of_time
from ablatent.schedules.discrete import DiscreteSchedule, FirstBeta, LastBeta, ZeroTerminalSnr
from ablatent.schedules.linear import check_betas, linear_betas


class ScaledLinear(DiscreteSchedule):
    """Square roots of the betas linear in t (Rombach et al. 2022, released configurations: 0.0015 to 0.0195, T = 1000).

    The betas are taken as given for any T: fewer steps with the same betas leave more signal at the end.
    """

    def __init__(
        self,
        T: Times,
        beta_start: FirstBeta,
        beta_end: LastBeta,
        zero_terminal_snr: ZeroTerminalSnr,
    ):
        check_betas(beta_start, beta_end)
        super().__init__(linear_betas(check_steps_of_time(T), beta_start**0.5, beta_end**0.5) ** 2, zero_terminal_snr)
