"""Documents: uploaded to storage, and loaded as one LlamaIndex Document per page, with file name and page label.

Files that cannot be read are reported with the reason.
"""

from dream.documents.loading import (
    load_documents as load_documents,
    merge_pages as merge_pages,
    page_of as page_of,
    reading_options as reading_options,
)
from dream.documents.uploading import prepare_documents as prepare_documents
