"""Documents: uploaded into storage, then read as one Document per page with its file name and page label.

Files that cannot be read are reported with the reason.
"""

from dream.documents.loading import (
    load_documents as load_documents,
    merge_pages as merge_pages,
    page_of as page_of,
)
from dream.documents.uploading import prepare_documents as prepare_documents
