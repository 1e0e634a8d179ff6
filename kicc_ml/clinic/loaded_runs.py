"""Load the runs that new scans are predicted by: networks, outcome model and score model, each with its origin."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kicc_ml.clinic.held_out_case import add_run, describe_model, read_oof_cases
from kicc_ml.clinic.new_scan import NewScanPipeline, OutcomePredictor, load_outcomes
from kicc_ml.clinic.outputs import ModelProvenance, OofCases
from kicc_ml.core.types import Modality, Series
from kicc_ml.models.segmenter import Segmenter
from kicc_ml.prediction.new_radiograph_scores import ScoreModel, score_model
from kicc_ml.prediction.segmenters import make_segmenter
from kicc_ml.runs.folder import load_folds
from kicc_ml.runs.run_kind import MASKS, OUTCOMES, refuse_other_kinds


@dataclass(frozen=True)
class RunChoice:
    """The runs that a user names, and how they are run.

    Attributes:
        run: run folder of a segmentation run.
        outcome_run: run folder of an outcome experiment; None for no risks.
        clinical: clinical table for the outcome run.
        score_run: run folder of scores of radiographs; None for no scores.
        trust: packages whose parts the runs may name.
        device: where the networks run, as ``auto`` or ``cuda:1``.
        fast: leave mirror images out.
    """

    run: Path
    outcome_run: Path | None = None
    clinical: Path | None = None
    score_run: Path | None = None
    trust: tuple[str, ...] = ()
    device: str = "auto"
    fast: bool = False


@dataclass(frozen=True)
class LoadedRuns:
    """The networks of a run, the cases that it is compared with, and the further models beside it."""

    segmenter: Segmenter
    oof_cases: OofCases
    model: ModelProvenance
    outcomes: OutcomePredictor | None = None
    scores: ScoreModel | None = None

    @property
    def modality(self) -> Modality:
        """The kind of image that the run is for."""
        return self.segmenter.canonical.modality

    def make_pipeline(
        self,
        scans: Mapping[str, Series],
        *,
        pages: bool = False,
        dicom: bool = False,
        identified: bool = False,
        push: str = "",
        intake_s: float = 0.0,
    ) -> NewScanPipeline:
        """Make the steps after the segmentation of each scan.

        Args:
            scans: the scans that are predicted together, by case id.
            pages: write a page, a montage and a sheet for each.
            dicom: write objects for the PACS.
            identified: name the patient on page and sheet.
            push: address of a DICOMweb service that takes the objects; "" for none.
            intake_s: seconds in which each scan was found.
        """
        return NewScanPipeline(
            *(self.oof_cases, self.model, pages, dicom, identified, push),
            *(self.outcomes, self.scores, scans, intake_s),
        )


def load_runs(choice: RunChoice) -> LoadedRuns:
    """Load the runs that a user names.

    Raises:
        UserError: a folder holds no finished run of its kind, or they do not fit together.
    """
    for run, option in ((choice.run, MASKS), (choice.outcome_run, OUTCOMES)):
        if run:
            refuse_other_kinds(run, option)
    folds, oof_cases = load_folds(choice.run, choice.trust), read_oof_cases(choice.run)
    segmenter = make_segmenter(folds, choice.device, fast=choice.fast)
    outcomes = load_outcomes(choice.outcome_run, choice.clinical, choice.trust)
    model = describe_model(folds, oof_cases)
    model = add_run(model, "outcome run", outcomes.model.trained) if outcomes else model
    loaded = LoadedRuns(segmenter, oof_cases, model, outcomes)
    return add_score_run(loaded, choice.score_run) if choice.score_run else loaded


def add_score_run(runs: LoadedRuns, score_run: Path) -> LoadedRuns:
    """Add a run of a radiologist's scores to that of radiographs.

    Raises:
        UserError: the folder holds no such run, or the scans are no radiographs.
    """
    scores = score_model(score_run, runs.modality)
    assert scores is not None
    return replace(runs, scores=scores, model=add_run(runs.model, "score run", scores.folds))
