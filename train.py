"""Train every fold of a split, predict what each fold held out, report: :mod:`kicc_ml.apps.train`.

python train.py                                              the synthetic demonstration
python train.py experiment=lesion_ct cohort=repository cohort.root=DIR
python train.py --help                                       what to type
python train.py --cfg job                                    every setting
"""

from kicc_ml.core.starting import start

if __name__ == "__main__":
    start("kicc_ml.apps.train", "run")
