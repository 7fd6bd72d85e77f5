"""The golden dataset: questions with known answers, generated from the documents or imported from a CSV file.

Every trial of an experiment answers the same questions.
"""

from dream.golden.dataset import (
    generate_golden_dataset as generate_golden_dataset,
    golden_table as golden_table,
    load_golden_dataset as load_golden_dataset,
    save_golden_dataset as save_golden_dataset,
)
