"""The norm loss in the precision of its features, as the authors of ADPretrain train."""

from torch import Tensor
from torch.nn import functional as F

from adpt.losses.norm import NormContrastiveLoss, norm_score


class PublishedNormLoss(NormContrastiveLoss):
    """As `NormContrastiveLoss`, with every step rounded to the features' own precision.

    In bfloat16 scores below 1 lie 0.008 apart, and the shell is 0.004 wide. Args and errors as of
    `NormContrastiveLoss`.
    """

    def forward(self, features: Tensor, anomalous: Tensor) -> Tensor:
        """Compute the loss of one level and view.

        Args:
            features: (N, C) features of the patches.
            anomalous: (N,), non-zero for anomalous patches.

        Returns:
            () loss in the features' precision, at least 0.
        """
        length = norm_score(features)
        normal, defects = length[~anomalous.bool()], length[anomalous.bool()]
        outer = self.radius
        if len(defects):
            outer = min(0.9 * defects.min().item(), outer)
        inner, beyond = 0.99 * outer, outer + self.margin
        violations = (
            normal[normal > outer] - outer,
            inner - normal[normal < inner],
            beyond - defects[defects < beyond],
        )
        loss = length.sum() * 0
        for violation in violations:
            if len(violation):
                loss = loss + (-F.logsigmoid(-violation) * violation.detach().exp()).mean()
        return loss
