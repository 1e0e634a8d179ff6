"""What ``kicc-ml`` alone says: the few commands that a newcomer needs, and where the rest is."""

FIRST_SCREEN = """kicc_ml: deep learning for COVID-19 pneumonia over a multi-hospital DICOM repository (research only)

Begin here
  kicc-ml demo                       train and judge everything on synthetic data: about 8 minutes on two cores
  kicc-ml view runs/demo/lesion_ct   the patients of the demo, worst first

Your own hospitals: DIR has a folder of DICOM files for each hospital, and clinical.csv
  kicc-ml doctor DIR                 what to mend first: rows, images, names, units
  kicc-ml train experiment=lesion_ct cohort=repository cohort.root=DIR
  kicc-ml predict -i SCANS -o OUT --run runs/lesion_ct --report

The rest
  kicc-ml --help                     all commands; kicc-ml COMMAND --help: one of them
  kicc-ml train --help               all settings of a training
  README.md and docs/                what the outputs mean, how the table is laid down, your own networks"""
