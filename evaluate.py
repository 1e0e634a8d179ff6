"""Score a run, or anybody's predictions of a cohort, and write the report: :mod:`kicc_ml.apps.evaluate`.

python evaluate.py runs=runs/lesion_ct
python evaluate.py predictions=theirs.csv cohort=repository cohort.root=DIR runs=runs/clinical
"""

from kicc_ml.core.starting import start

if __name__ == "__main__":
    start("kicc_ml.apps.evaluate", "run")
