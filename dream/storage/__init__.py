"""Object storage by URI: an S3 bucket or a local folder behind one interface.

Everything DREAM keeps (documents, golden datasets, indexes, experiments, cached answers) is read and written here.
"""

from dream.storage.objects import (
    LocalStorage as LocalStorage,
    MemoryStorage as MemoryStorage,
    S3Storage as S3Storage,
    Storage as Storage,
    StoredObject as StoredObject,
    check_key as check_key,
    open_storage as open_storage,
)
