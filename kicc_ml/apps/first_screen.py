"""What ``kicc-ml`` alone says: the few commands that a newcomer needs, and where the rest is."""

FIRST_SCREEN = """kicc_ml: deep learning for COVID-19 pneumonia over a multi-hospital DICOM
repository. Research use only.

Begin here
  kicc-ml demo                       the whole line on synthetic data, 8 minutes
  kicc-ml view runs/demo/lesion_ct   patients of the demo, worst first

Your own hospitals: in DIR a folder of DICOM files for each, and clinical.csv
  kicc-ml doctor DIR                 what to mend first: rows, images, units
  kicc-ml train experiment=lesion_ct cohort=repository cohort.root=DIR
  kicc-ml predict -i SCANS -o OUT --run runs/lesion_ct --report

The rest
  kicc-ml --help                     all commands
  kicc-ml train --help               how to train, and how to list all settings
  README.md and docs/                what outputs mean, tables, your own parts"""
