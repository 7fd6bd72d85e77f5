"""Contents of a PDF besides its pages' text: values of form fields, and notes."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

MAX_ANNOTATIONS = 2000


@dataclass(frozen=True)
class FormKind:
    """The kind of form that a file holds; the pages of a dynamic XFA form are drawn by Adobe's programs alone."""

    has_fields: bool
    is_xfa: bool
    is_dynamic: bool


def form_kind(document: Any) -> FormKind:
    from pypdfium2 import raw

    kind = raw.FPDF_GetFormType(document)
    is_dynamic = kind == raw.FORMTYPE_XFA_FULL
    return FormKind(kind != raw.FORMTYPE_NONE, is_dynamic or kind == raw.FORMTYPE_XFA_FOREGROUND, is_dynamic)


@contextmanager
def opened(document: Any, kind: FormKind) -> Iterator[Any]:
    """PDFium's form environment, None for a file without fields."""
    if not kind.has_fields:
        yield None
        return
    document.init_forms()
    yield document.formenv


def texts_of(page: Any, form: Any, text: str) -> Iterator[str]:
    """A line for each filled field (`name: value`) and note of a page, except those that `text` holds already."""
    from pypdfium2 import raw

    count = min(raw.FPDFPage_GetAnnotCount(page), MAX_ANNOTATIONS)
    words = " ".join(text.split())
    seen: set[str] = set()
    for i in range(count):
        annotation = raw.FPDFPage_GetAnnot(page, i)
        try:
            line = _line(annotation, form)
        finally:
            raw.FPDFPage_CloseAnnot(annotation)
        if line and line not in seen and line not in words:
            seen.add(line)
            yield line


def _line(annotation: Any, form: Any) -> str:
    from pypdfium2 import raw

    kind = raw.FPDFAnnot_GetSubtype(annotation)
    if kind == raw.FPDF_ANNOT_WIDGET:
        return _field(annotation, form) if form else ""
    if kind in (raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP):
        return ""
    note = _text(lambda *a: raw.FPDFAnnot_GetStringValue(annotation, b"Contents", *a))
    return f"Note: {' '.join(note.split())}" if note.strip() else ""


def _field(annotation: Any, form: Any) -> str:
    from pypdfium2 import raw

    kind = raw.FPDFAnnot_GetFormFieldType(form, annotation)
    name = _text(lambda *a: raw.FPDFAnnot_GetFormFieldAlternateName(form, annotation, *a)) or _text(
        lambda *a: raw.FPDFAnnot_GetFormFieldName(form, annotation, *a)
    )
    if kind in (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON):
        if not raw.FPDFAnnot_IsChecked(form, annotation):
            return ""
        value = _text(lambda *a: raw.FPDFAnnot_GetFormFieldExportValue(form, annotation, *a)) or "yes"
    elif kind in (raw.FPDF_FORMFIELD_PUSHBUTTON, raw.FPDF_FORMFIELD_SIGNATURE, raw.FPDF_FORMFIELD_UNKNOWN):
        return ""
    else:
        value = _text(lambda *a: raw.FPDFAnnot_GetFormFieldValue(form, annotation, *a))
    value = " ".join(value.split())
    return f"{name}: {value}" if name and value else value


def _text(get: Callable[..., int]) -> str:
    """A text of PDFium's, whose functions are called for its length first."""
    size = get(None, 0)
    if size <= 2:
        return ""
    buffer = ctypes.create_string_buffer(size)
    get(ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), size)
    return buffer.raw[: size - 2].decode("utf-16-le", "replace")
