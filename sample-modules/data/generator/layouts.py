"""The layouts of the sample invoices. Each has a function that turns the data of an invoice into the bytes of a PDF.

The layouts differ in what is difficult for a parser: wording, language, column order, formats of dates and amounts,
number of pages, font encoding and producer. The functions use no clock and no random numbers.

Each function takes `omit_total` and `stated_total_cents`, which are used to generate incorrect invoices.
"""

import io
import json
from datetime import datetime, timezone
from pathlib import Path

import fpdf
import reportlab
import typst
from reportlab.lib import colors, pagesizes
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.pdfgen import canvas
from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from invoices import Invoice

VERA = Path(reportlab.__file__).parent / "fonts" / "Vera.ttf"
FIXED_DATE = datetime(2025, 1, 1, tzinfo=timezone.utc)
TYPST_TEMPLATE = Path(__file__).with_name("modern.typ")


def english(cents: int) -> str:
    """1,234.56"""
    return f"{cents / 100:,.2f}"


def german(cents: int) -> str:
    """1.234,56"""
    return english(cents).translate(str.maketrans(",.", ".,"))


def french(cents: int) -> str:
    """1 234,56"""
    return english(cents).replace(",", " ").replace(".", ",")


def classic(invoice: Invoice, omit_total=False, stated_total_cents=None) -> bytes:
    """ReportLab flowables, US letter: quantity first, dollar signs, long dates."""
    total = invoice.total_cents if stated_total_cents is None else stated_total_cents
    styles = getSampleStyleSheet()
    rows = [["Qty", "Description", "Unit Price", "Amount"]]
    for line in invoice.lines:
        rows.append([str(line.quantity), line.description, f"${english(line.unit_cents)}", f"${english(line.amount_cents)}"])
    rows.append(["", "", "Subtotal", f"${english(invoice.subtotal_cents)}"])
    rows.append(["", "", f"Sales tax ({invoice.tax_percent}%)", f"${english(invoice.tax_cents)}"])
    if not omit_total:
        rows.append(["", "", "Total due", f"${english(total)}"])
    items = Table(rows, colWidths=[16 * mm, 80 * mm, 38 * mm, 32 * mm])
    items.setStyle(TableStyle([
        ("LINEBELOW", (0, 0), (-1, 0), 1, colors.black),
        ("LINEABOVE", (2, len(invoice.lines) + 1), (-1, len(invoice.lines) + 1), 0.5, colors.grey),
        ("ALIGN", (2, 0), (-1, -1), "RIGHT"),
    ]))
    header = Table([
        ["Invoice No.", invoice.number],
        ["Invoice Date", f"{invoice.issued:%B} {invoice.issued.day}, {invoice.issued.year}"],
        ["Payment Due", f"{invoice.due:%B} {invoice.due.day}, {invoice.due.year}"],
    ], hAlign="LEFT")
    out = io.BytesIO()
    SimpleDocTemplate(out, pagesize=pagesizes.letter, invariant=1, title=f"Invoice {invoice.number}").build([
        Paragraph(invoice.seller.replace("&", "&amp;"), styles["Title"]), Paragraph("INVOICE", styles["Heading2"]), header,
        Spacer(1, 8 * mm), Paragraph("Bill to: " + ", ".join(invoice.customer), styles["Normal"]), Spacer(1, 8 * mm), items,
        Spacer(1, 10 * mm), Paragraph("Thank you for your business.", styles["Italic"]),
    ])
    return out.getvalue()


def german_layout(invoice: Invoice, omit_total=False, stated_total_cents=None) -> bytes:
    """fpdf2 with an embedded TrueType subset (two-byte glyph ids): umlauts, euro signs after the amount, dotted dates."""
    total = invoice.total_cents if stated_total_cents is None else stated_total_cents
    pdf = _fpdf(f"Rechnung {invoice.number}")
    pdf.add_font("Vera", "", VERA)
    pdf.set_font("Vera", size=16)
    pdf.cell(text=invoice.seller, new_x="LMARGIN", new_y="NEXT")
    pdf.set_font("Vera", size=10)
    for text in invoice.customer:
        pdf.cell(text=text, new_x="LMARGIN", new_y="NEXT")
    pdf.ln(8)
    for label, value in [("Rechnungsnummer:", invoice.number), ("Rechnungsdatum:", f"{invoice.issued:%d.%m.%Y}"),
                         ("Fällig am:", f"{invoice.due:%d.%m.%Y}")]:
        pdf.cell(w=45, text=label)
        pdf.cell(text=value, new_x="LMARGIN", new_y="NEXT")
    pdf.ln(6)
    widths = (12, 78, 20, 35, 35)
    _row(pdf, widths, "LLRRR", ["Pos", "Bezeichnung", "Menge", "Einzelpreis", "Gesamt"])
    for position, line in enumerate(invoice.lines, 1):
        _row(pdf, widths, "LLRRR", [str(position), line.description, str(line.quantity), f"{german(line.unit_cents)} €", f"{german(line.amount_cents)} €"])
    pdf.ln(3)
    _row(pdf, (145, 35), "RR", ["Nettobetrag", f"{german(invoice.subtotal_cents)} €"])
    _row(pdf, (145, 35), "RR", [f"zzgl. {invoice.tax_percent} % MwSt.", f"{german(invoice.tax_cents)} €"])
    if not omit_total:
        _row(pdf, (145, 35), "RR", ["Rechnungsbetrag", f"{german(total)} €"])
    return bytes(pdf.output())


def modern(invoice: Invoice, omit_total=False, stated_total_cents=None) -> bytes:
    """Typst: header in two columns, ISO dates, ligatures, quantity and rate in one cell."""
    total = invoice.total_cents if stated_total_cents is None else stated_total_cents
    data = {
        "seller": invoice.seller, "customer": invoice.customer, "number": invoice.number,
        "issued": invoice.issued.isoformat(), "due": invoice.due.isoformat(), "tax": invoice.tax_percent,
        "lines": [[line.description, f"{line.quantity} × £{english(line.unit_cents)}", f"£{english(line.amount_cents)}"] for line in invoice.lines],
        "subtotal": f"£{english(invoice.subtotal_cents)}", "tax_amount": f"£{english(invoice.tax_cents)}",
        "total": "" if omit_total else f"£{english(total)}",
    }
    return typst.compile(str(TYPST_TEMPLATE), format="pdf", sys_inputs={"invoice": json.dumps(data)}, ignore_system_fonts=True)


def ledger(invoice: Invoice, omit_total=False, stated_total_cents=None) -> bytes:
    """ReportLab canvas, typewriter font, several pages with repeated headings and a carried-over sum on each."""
    total = invoice.total_cents if stated_total_cents is None else stated_total_cents
    out = io.BytesIO()
    page = canvas.Canvas(out, pagesize=pagesizes.A4, invariant=1)
    page.setTitle(f"Invoice {invoice.number}")
    per_page, height = 34, pagesizes.A4[1]
    pages = [invoice.lines[start:start + per_page] for start in range(0, len(invoice.lines), per_page)]
    carried = 0
    for index, lines in enumerate(pages):
        y = height - 20 * mm
        def write(text, size=9, step=12):
            nonlocal y
            page.setFont("Courier", size)
            page.drawString(18 * mm, y, text)
            y -= step
        write(invoice.seller, 14, 20)
        write(f"INVOICE # {invoice.number}          Page {index + 1} of {len(pages)}", 10, 14)
        if index == 0:
            write(f"Date of issue: {invoice.issued.day} {invoice.issued:%b %Y}")
            write(f"Payable until: {invoice.due.day} {invoice.due:%b %Y}")
            write("Deliver to: " + ", ".join(invoice.customer), step=20)
        else:
            write(f"Carried forward {carried / 100:>48.2f}", step=20)
        write(f"{'Art.':<7}{'Description':<30}{'Qty':>5}{'Price EUR':>12}{'Sum EUR':>12}", step=14)
        for number, line in enumerate(lines, index * per_page + 1):
            carried += line.amount_cents
            write(f"{number:06} {line.description:<30}{line.quantity:>5}{line.unit_cents / 100:>12.2f}{line.amount_cents / 100:>12.2f}")
        y -= 8
        if index + 1 == len(pages):
            write(f"{'Net total EUR':>54}{invoice.subtotal_cents / 100:>12.2f}")
            write(f"{f'VAT {invoice.tax_percent}% EUR':>54}{invoice.tax_cents / 100:>12.2f}")
            if not omit_total:
                write(f"{'Grand total EUR':>54}{total / 100:>12.2f}")
        page.showPage()
    page.save()
    return out.getvalue()


def french_layout(invoice: Invoice, omit_total=False, stated_total_cents=None) -> bytes:
    """fpdf2 with a built-in font (one-byte WinAnsi encoding): accents, blanks in amounts, day/month/year."""
    total = invoice.total_cents if stated_total_cents is None else stated_total_cents
    pdf = _fpdf(f"Facture {invoice.number}")
    pdf.set_font("Times", "B", 18)
    pdf.cell(text=invoice.seller, new_x="LMARGIN", new_y="NEXT")
    pdf.set_font("Times", size=11)
    pdf.cell(text=f"Facture n° {invoice.number} du {invoice.issued:%d/%m/%Y}", new_x="LMARGIN", new_y="NEXT")
    pdf.cell(text=f"À régler avant le {invoice.due:%d/%m/%Y}", new_x="LMARGIN", new_y="NEXT")
    pdf.ln(4)
    pdf.cell(text="Client : " + ", ".join(invoice.customer), new_x="LMARGIN", new_y="NEXT")
    pdf.ln(6)
    widths = (80, 35, 20, 40)
    _row(pdf, widths, "LRRR", ["Désignation", "Prix unitaire HT", "Qté", "Montant HT"])
    for line in invoice.lines:
        _row(pdf, widths, "LRRR", [line.description, f"{french(line.unit_cents)} EUR", str(line.quantity), f"{french(line.amount_cents)} EUR"])
    pdf.ln(3)
    _row(pdf, (135, 40), "RR", ["Total HT", f"{french(invoice.subtotal_cents)} EUR"])
    _row(pdf, (135, 40), "RR", [f"TVA {invoice.tax_percent} %", f"{french(invoice.tax_cents)} EUR"])
    if not omit_total:
        _row(pdf, (135, 40), "RR", ["Net à payer TTC", f"{french(total)} EUR"])
    return bytes(pdf.output())


def receipt(invoice: Invoice, omit_total=False, stated_total_cents=None) -> bytes:
    """ReportLab canvas, a narrow slip: labels and values far apart, US dates, no unit prices, the currency only once."""
    total = invoice.total_cents if stated_total_cents is None else stated_total_cents
    out = io.BytesIO()
    width, height = 90 * mm, (90 + 12 * len(invoice.lines)) * mm
    page = canvas.Canvas(out, pagesize=(width, height), invariant=1)
    page.setTitle(f"Receipt {invoice.number}")
    y = height - 12 * mm
    def pair(left, right, font="Helvetica", size=9, step=13):
        nonlocal y
        page.setFont(font, size)
        page.drawString(6 * mm, y, left)
        page.drawRightString(width - 6 * mm, y, right)
        y -= step
    page.setFont("Helvetica-Bold", 13)
    page.drawCentredString(width / 2, y, invoice.seller)
    y -= 24
    pair("Receipt / Invoice", invoice.number)
    pair("Date", f"{invoice.issued:%m/%d/%Y}")
    pair("Due", f"{invoice.due:%m/%d/%Y}")
    pair("Sold to", invoice.customer[0])
    pair("All amounts in", invoice.currency, step=22)
    for line in invoice.lines:
        pair(f"{line.quantity} x {line.description}", english(line.amount_cents))
    y -= 8
    pair("Subtotal", english(invoice.subtotal_cents))
    pair(f"HST {invoice.tax_percent}%", english(invoice.tax_cents))
    if not omit_total:
        pair("TOTAL", english(total), "Helvetica-Bold", 11)
    page.showPage()
    page.save()
    return out.getvalue()


LAYOUTS = {
    "classic": classic, "german": german_layout, "modern": modern,
    "ledger": ledger, "french": french_layout, "receipt": receipt,
}


def _fpdf(title: str) -> fpdf.FPDF:
    pdf = fpdf.FPDF(format="A4")
    pdf.set_creation_date(FIXED_DATE)
    pdf.set_title(title)
    pdf.add_page()
    return pdf


def _row(pdf: fpdf.FPDF, widths, alignments, texts):
    for width, alignment, text in zip(widths, alignments, texts):
        pdf.cell(w=width, h=7, text=text, align=alignment)
    pdf.ln()
