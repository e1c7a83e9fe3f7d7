#!/usr/bin/env python3
"""Generates ../invoices, the sample invoices as PDF files, and `expected.json` with the expected result for each.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python generate.py

Every run writes the same bytes.
"""

import dataclasses
import io
import json
import random
from datetime import timedelta
from pathlib import Path

import pikepdf
from PIL import Image, ImageDraw
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

from invoices import Invoice, good_invoices
from layouts import LAYOUTS

OUT = Path(__file__).resolve().parent.parent / "invoices"


def main():
    OUT.mkdir(exist_ok=True)
    for stale in OUT.glob("*"):
        stale.unlink()
    expected = []

    invoices = good_invoices()
    for invoice in invoices:
        pdf = LAYOUTS[invoice.layout](invoice)
        if invoice.layout == "ledger":
            pdf = with_object_streams(pdf)
        (OUT / invoice.file).write_bytes(pdf)
        expected.append({"file": invoice.file, "layout": invoice.layout, "invoice": invoice.expected()})

    for file, pdf, step, error, why in broken(invoices):
        (OUT / file).write_bytes(pdf)
        expected.append({"file": file, "error": {"step": step, "type": error}, "why": why})

    expected.sort(key=lambda entry: entry["file"])
    (OUT.parent / "expected.json").write_text(json.dumps(expected, indent=2, ensure_ascii=False) + "\n")
    print(f"{len(expected)} files in {OUT}")


def broken(invoices: list[Invoice]):
    """The files that must be refused: (file, bytes, step that refuses it, error type, reason)."""
    by_file = {invoice.file: invoice for invoice in invoices}

    def variant(file: str, number: str, **changes) -> Invoice:
        return dataclasses.replace(by_file[file], number=number, **changes)

    whole = LAYOUTS["ledger"](variant("ledger-01.pdf", "PL900001"))
    yield "broken-truncated.pdf", whole[:len(whole) * 2 // 5], "ExtractTextFromPdf", "BrokenPdf", \
        "the upload stopped in the middle of the file"
    yield "broken-not-a-pdf.pdf", b"<!DOCTYPE html>\n<title>404 Not Found</title>\n<p>The invoice you asked for is not here.</p>\n", \
        "ExtractTextFromPdf", "NotAPdf", "an error page saved under the name of an invoice"
    yield "broken-empty.pdf", b"", "ExtractTextFromPdf", "NotAPdf", "a file of no bytes"
    yield "broken-encrypted.pdf", encrypted(LAYOUTS["classic"](variant("classic-01.pdf", "HS-2025-9001"))), \
        "ExtractTextFromPdf", "EncryptedPdf", "opens only with a password"
    yield "broken-scan.pdf", scan(variant("classic-02.pdf", "HS-2025-9002")), "ExtractTextFromPdf", "NoText", \
        "a scanned page: a picture without a text layer"
    yield "broken-no-total.pdf", LAYOUTS["german"](variant("german-01.pdf", "RE-90001"), omit_total=True), \
        "ParseInvoiceData", "MissingField", "states no total"
    yield "broken-no-number.pdf", LAYOUTS["modern"](variant("modern-02.pdf", "")), \
        "ParseInvoiceData", "MissingField", "states no invoice number"
    wrong = variant("modern-01.pdf", "CS/901/25")
    yield "broken-wrong-total.pdf", LAYOUTS["modern"](wrong, stated_total_cents=wrong.total_cents + 10000), \
        "ValidateInvoiceData", "TotalMismatch", "the total is 100.00 more than net plus tax"
    yield "broken-lost-line.pdf", LAYOUTS["french"](LostLine(variant("french-01.pdf", "F2025-901"))), \
        "ValidateInvoiceData", "LinesMismatch", "one line item is missing, so the lines do not add up to the net amount"
    late = variant("receipt-01.pdf", "9000001")
    yield "broken-due-date.pdf", LAYOUTS["receipt"](dataclasses.replace(late, due=late.issued - timedelta(days=60))), \
        "ValidateInvoiceData", "DueBeforeIssue", "due before it was issued"


class LostLine:
    """An invoice whose sums include a line item that is not printed."""

    def __init__(self, invoice: Invoice):
        self.__dict__.update(
            {name: getattr(invoice, name) for name in ("seller", "customer", "number", "issued", "due", "currency", "tax_percent",
                                                       "subtotal_cents", "tax_cents", "total_cents")},
            lines=invoice.lines[:-1])


def with_object_streams(pdf: bytes) -> bytes:
    """Saves a PDF again with qpdf, with compressed object streams and a cross-reference stream."""
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as document:
        document.save(out, object_stream_mode=pikepdf.ObjectStreamMode.generate, deterministic_id=True)
    return out.getvalue()


def encrypted(pdf: bytes) -> bytes:
    """Encrypts a PDF with a password. Uses RC4, because its keys depend only on the file id; AES uses random keys."""
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as document:
        document.save(out, static_id=True, encryption=pikepdf.Encryption(
            user="windlass", owner="windlass-owner", R=3, aes=False, metadata=False))
    return out.getvalue()


def scan(invoice: Invoice) -> bytes:
    """A PDF with a grey, slightly rotated picture of a page."""
    dice = random.Random(7)
    picture = Image.new("L", (620, 876), 247)
    draw = ImageDraw.Draw(picture)
    text = [invoice.seller, "INVOICE", f"Invoice No. {invoice.number}", *invoice.customer,
            *(f"{line.quantity}  {line.description}" for line in invoice.lines), "Total due see overleaf"]
    for row, line in enumerate(text):
        draw.text((60, 60 + row * 28), line, fill=30)
    for _ in range(400):
        draw.point((dice.randrange(620), dice.randrange(876)), fill=90)
    picture = picture.rotate(1.5, fillcolor=247)
    out = io.BytesIO()
    page = canvas.Canvas(out, pagesize=(595, 842), invariant=1)
    page.drawImage(ImageReader(picture), 0, 0, 595, 842)
    page.showPage()
    page.save()
    return out.getvalue()


if __name__ == "__main__":
    main()
