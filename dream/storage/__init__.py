"""Object storage by URI: an S3 bucket or a local folder behind one interface.

Everything that DREAM stores (documents, golden datasets, indexes, experiments, cached answers) is read and written
here.
"""

from dream.storage.base import Storage as Storage, StoredObject as StoredObject, check_key as check_key
from dream.storage.local import LocalStorage as LocalStorage
from dream.storage.memory import MemoryStorage as MemoryStorage
from dream.storage.opening import open_storage as open_storage
from dream.storage.s3 import S3Storage as S3Storage
