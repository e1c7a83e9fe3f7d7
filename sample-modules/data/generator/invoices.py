"""The data of the sample invoices, without layout.

All numbers are derived from a fixed seed, so that each run generates the same invoices. Amounts are in cents.
"""

import random
from dataclasses import dataclass, field
from datetime import date, timedelta


@dataclass(frozen=True)
class Line:
    description: str
    quantity: int
    unit_cents: int

    @property
    def amount_cents(self) -> int:
        return self.quantity * self.unit_cents


@dataclass
class Invoice:
    file: str
    layout: str
    seller: str
    customer: list[str]
    number: str
    issued: date
    due: date
    currency: str
    tax_percent: int
    lines: list[Line] = field(default_factory=list)

    @property
    def subtotal_cents(self) -> int:
        return sum(line.amount_cents for line in self.lines)

    @property
    def tax_cents(self) -> int:
        return (self.subtotal_cents * self.tax_percent + 50) // 100

    @property
    def total_cents(self) -> int:
        return self.subtotal_cents + self.tax_cents

    def expected(self) -> dict:
        """The data that a parser must find in the PDF of this invoice."""
        return {
            "number": self.number,
            "issued": self.issued.isoformat(),
            "due": self.due.isoformat(),
            "seller": self.seller,
            "currency": self.currency,
            "lines": len(self.lines),
            "subtotalCents": self.subtotal_cents,
            "taxCents": self.tax_cents,
            "totalCents": self.total_cents,
        }


GOODS = {
    "en": [
        ("Mooring rope, 12 mm", 289), ("Snatch block", 7450), ("Shackle, galvanised", 1295), ("Winch handle", 4899),
        ("Deck paint, 5 l", 6230), ("Bilge pump", 13900), ("Life vest", 8450), ("Anchor chain, 8 mm", 745),
        ("Fender, large", 5675), ("Signal flags, set", 11200), ("Boat hook", 3120), ("Cleat, bronze", 2799),
    ],
    "de": [
        ("Drahtseil 16 mm", 1185), ("Seilwinde gebraucht", 184500), ("Schäkel verzinkt", 945), ("Kranhaken 5 t", 23990),
        ("Schmierfett Kartusche", 675), ("Prüfung nach UVV", 32000), ("Montage vor Ort", 7850), ("Umlenkrolle", 15640),
        ("Hebegurt 3 m", 4280), ("Ölwechsel Getriebe", 18900),
    ],
    "fr": [
        ("Cordage tressé 10 mm", 215), ("Poulie simple", 3890), ("Écoute de génois", 8460), ("Taquet coinceur", 2745),
        ("Révision du guindeau", 45000), ("Peinture de pont", 5780), ("Manille inox", 1120), ("Pavillon français", 1690),
    ],
}

CUSTOMERS = {
    "en": [["Northwind Chandlery", "4 Quay Street", "Portland ME 04101"], ["Blue Anchor Charters", "77 Dock Road", "Annapolis MD 21401"],
           ["Fairlead Yachts", "19 Harbour View", "Falmouth TR11 3XA"]],
    "de": [["Hafenbetriebe Emden AöR", "Am Delft 12", "26721 Emden"], ["Werft Müller & Söhne", "Kaistraße 3", "24103 Kiel"]],
    "fr": [["Chantier naval du Léon", "8 quai de l'Étoile", "29200 Brest"], ["Voiles & Vent SA", "21 rue des Écluses", "17000 La Rochelle"]],
}

# One seller per layout: (layout, language, seller, currency, tax percent, number pattern, number of invoices, lines per
# invoice)
SELLERS = [
    ("classic", "en", "Harbour Supplies Inc.", "USD", 8, "HS-2025-{:04}", 6, (3, 7)),
    ("german", "de", "Kranbau Nord GmbH", "EUR", 19, "RE-{:05}", 5, (2, 6)),
    ("modern", "en", "Capstan & Sons Ltd", "GBP", 20, "CS/{:03}/25", 5, (3, 8)),
    ("ledger", "en", "Pawl Logistics BV", "EUR", 21, "PL{:06}", 4, (48, 90)),
    ("french", "fr", "Cabestan Marine SARL", "EUR", 20, "F2025-{:03}", 5, (2, 6)),
    ("receipt", "en", "Lakeside Rope Co.", "CAD", 13, "{:07}", 3, (2, 5)),
]


def good_invoices() -> list[Invoice]:
    """All valid invoices, in a fixed order."""
    dice = random.Random(20250101)
    invoices = []
    for layout, language, seller, currency, tax, pattern, count, (fewest, most) in SELLERS:
        for index in range(1, count + 1):
            issued = date(2025, 1, 7) + timedelta(days=dice.randrange(0, 300))
            goods = GOODS[language]
            lines = []
            for _ in range(dice.randint(fewest, most)):
                description, cents = goods[dice.randrange(len(goods))]
                lines.append(Line(description, dice.randint(1, 24), cents + dice.randrange(0, 50)))
            invoices.append(Invoice(
                file=f"{layout}-{index:02}.pdf",
                layout=layout,
                seller=seller,
                customer=CUSTOMERS[language][dice.randrange(len(CUSTOMERS[language]))],
                number=pattern.format(index * 37 + 4),
                issued=issued,
                due=issued + timedelta(days=30),
                currency=currency,
                tax_percent=tax,
                lines=lines,
            ))
    return invoices
