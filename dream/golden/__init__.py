"""The golden dataset: questions with known answers, generated from the documents or read from a user's file.

Every trial of an experiment answers the same questions.
"""

from dream.golden.dataset import (
    generate_golden_dataset as generate_golden_dataset,
    golden_table as golden_table,
    has_golden_dataset as has_golden_dataset,
    load_golden_dataset as load_golden_dataset,
    plan_golden_dataset as plan_golden_dataset,
    save_golden_dataset as save_golden_dataset,
)
