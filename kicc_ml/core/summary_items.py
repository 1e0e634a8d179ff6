"""The items of a cohort's summary (Table 1), with their words."""

#: Keys of a cohort's summary (Table 1) in words, in the order in which they are shown; scripts of users read the keys.
SUMMARY_ITEMS = {
    "patients": "Patients",
    "sites": "Hospitals",
    "men": "Men",
    "women": "Women",
    "age_mean": "Age, mean (years)",
    "age_min": "Age, youngest",
    "age_max": "Age, oldest",
    "underlying_disease": "Underlying disease",
    "fever": "Fever",
    "cough": "Cough",
    "lymphocytopenia": "Lymphocytopenia",
    "thrombocytopenia": "Thrombocytopenia",
    "elevated_crp": "Elevated CRP",
    "oxygen_or_ventilation": "Oxygen or mechanical ventilation",
    "mechanical_ventilation": "Mechanical ventilation",
    "icu": "Intensive care",
    "died": "Died",
    "ct_patients": "Patients with CT",
    "ct_scans": "CT scans",
    "cxr_patients": "Patients with radiograph",
    "cxr_images": "Radiographs",
    "both_modalities": "CT and radiograph",
    "ct_only": "CT only",
    "cxr_only": "Radiograph only",
}
