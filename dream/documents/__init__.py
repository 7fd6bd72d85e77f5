"""Files become text: uploads into storage, then one document a page with its file name and page label.

Formats are read by `readers`; what cannot be read is reported with the reason.
"""

from dream.documents.loading import (
    load_documents as load_documents,
    merge_pages as merge_pages,
    page_of as page_of,
    prepare_documents as prepare_documents,
)
