//! Extracts the data of an invoice from its text, with the labels of each known layout.

use invoices_api::Invoice;
use windlass_sdk::prelude::*;

/// The labels and notations in one seller's invoices. A label may be anywhere in a line.
struct Layout {
    number: &'static str,
    issued: &'static str,
    due: &'static str,
    net: &'static str,
    tax: &'static str,
    total: &'static str,
    date: DateStyle,
    decimal: char,
    currency: Currency,
}

#[derive(Clone, Copy)]
enum DateStyle {
    /// 2025-03-31
    Iso,
    /// 31.03.2025, 31/03/2025, 31 Mar 2025
    DayFirst,
    /// 03/31/2025, March 31, 2025
    MonthFirst,
}

enum Currency {
    Always(&'static str),
    /// The word after this label.
    After(&'static str),
}

const LAYOUTS: &[Layout] = &[
    Layout {
        number: "Invoice No.",
        issued: "Invoice Date",
        due: "Payment Due",
        net: "Subtotal",
        tax: "Sales tax",
        total: "Total due",
        date: DateStyle::MonthFirst,
        decimal: '.',
        currency: Currency::Always("USD"),
    },
    Layout {
        number: "Rechnungsnummer:",
        issued: "Rechnungsdatum:",
        due: "Fällig am:",
        net: "Nettobetrag",
        tax: "MwSt.",
        total: "Rechnungsbetrag",
        date: DateStyle::DayFirst,
        decimal: ',',
        currency: Currency::Always("EUR"),
    },
    Layout {
        number: "Reference:",
        issued: "Issued:",
        due: "Due by:",
        net: "Net £",
        tax: "VAT at",
        total: "Amount payable",
        date: DateStyle::Iso,
        decimal: '.',
        currency: Currency::Always("GBP"),
    },
    Layout {
        number: "INVOICE #",
        issued: "Date of issue:",
        due: "Payable until:",
        net: "Net total EUR",
        tax: "VAT",
        total: "Grand total EUR",
        date: DateStyle::DayFirst,
        decimal: '.',
        currency: Currency::Always("EUR"),
    },
    Layout {
        number: "Facture n°",
        issued: " du ",
        due: "À régler avant le",
        net: "Total HT",
        tax: "TVA",
        total: "Net à payer TTC",
        date: DateStyle::DayFirst,
        decimal: ',',
        currency: Currency::Always("EUR"),
    },
    Layout {
        number: "Receipt / Invoice",
        issued: "Date",
        due: "Due",
        net: "Subtotal",
        tax: "HST",
        total: "TOTAL",
        date: DateStyle::MonthFirst,
        decimal: '.',
        currency: Currency::After("All amounts in"),
    },
];

pub fn invoice(text: &str) -> Result<Invoice> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let layout = LAYOUTS
        .iter()
        .find(|layout| after(&lines, layout.number).is_some())
        .ok_or_else(|| fail("UnknownLayout", "not an invoice of a known seller"))?;
    let find = |label| after(&lines, label).ok_or_else(|| fail("MissingField", &format!("\"{label}\" is missing")));
    let amount = |label| {
        let tokens: Vec<_> = find(label)?.split_whitespace().collect();
        last_amount(&tokens, layout.decimal)
            .ok_or_else(|| fail("MissingField", &format!("no amount after \"{label}\"")))
    };
    let day = |label| {
        let text = find(label)?;
        date(text, layout.date).ok_or_else(|| fail("BadDate", &format!("\"{text}\" is not a date")))
    };
    let seller = lines[0].split(layout.number).next().unwrap_or_default();
    let number = find(layout.number)?.split_whitespace().next();
    let currency = match layout.currency {
        Currency::Always(code) => Some(code),
        Currency::After(label) => find(label)?.split_whitespace().next(),
    };
    Ok(Invoice {
        number: number
            .ok_or_else(|| fail("MissingField", "the number is missing"))?
            .to_owned(),
        seller: seller.trim().to_owned(),
        issued: day(layout.issued)?,
        due: day(layout.due)?,
        currency: currency
            .ok_or_else(|| fail("MissingField", "the currency is missing"))?
            .to_owned(),
        line_cents: lines
            .iter()
            .filter_map(|line| line_item(line, layout.decimal))
            .collect(),
        subtotal_cents: amount(layout.net)?,
        tax_cents: amount(layout.tax)?,
        total_cents: amount(layout.total)?,
    })
}

fn fail(error_type: &str, message: &str) -> Failure {
    Failure::new(error_type, message).non_retryable()
}

/// The text after a label, in the first line that contains it.
fn after<'a>(lines: &[&'a str], label: &str) -> Option<&'a str> {
    lines
        .iter()
        .find_map(|line| line.split_once(label))
        .map(|(_, rest)| rest.trim())
}

/// The amount of a line item, or `None` if the line is something else.
///
/// Columns differ and descriptions contain numbers, so a line is an item if a quantity times a price is the amount, or if
/// it begins like `21 x`.
fn line_item(line: &str, decimal: char) -> Option<i64> {
    let tokens: Vec<_> = line
        .split_whitespace()
        .filter(|token| !matches!(*token, "€" | "EUR"))
        .collect();
    if let [quantity, "x", rest @ ..] = tokens.as_slice() {
        quantity.parse::<u32>().ok()?;
        return last_amount(rest, decimal);
    }
    let amounts = amounts(&tokens, decimal);
    let last = tokens.len();
    amounts.iter().filter(|amount| amount.end == last).find_map(|total| {
        amounts
            .iter()
            .filter(|price| price.end <= total.start)
            .find_map(|price| {
                let outside = |at: &usize| *at < price.start || (*at >= price.end && *at < total.start);
                let fits = |at: usize| {
                    tokens[at]
                        .parse::<i64>()
                        .is_ok_and(|quantity| quantity * price.cents == total.cents)
                };
                (0..last).filter(outside).any(fits).then_some(total.cents)
            })
    })
}

/// An amount and the range of its tokens: `1 234,56` has two.
struct Amount {
    start: usize,
    end: usize,
    cents: i64,
}

/// All possible amounts. Of those with the same end, the longest is last.
fn amounts(tokens: &[&str], decimal: char) -> Vec<Amount> {
    let mut found = Vec::new();
    for end in 1..=tokens.len() {
        let Some(mut cents) = cents(tokens[end - 1], decimal) else {
            continue;
        };
        found.push(Amount {
            start: end - 1,
            end,
            cents,
        });
        // Blanks may separate thousands.
        let mut factor = 100_000;
        for start in (0..end - 1).rev() {
            let next_digits = tokens[start + 1].find(decimal).unwrap_or(tokens[start + 1].len());
            match tokens[start].parse::<i64>() {
                Ok(thousands) if decimal == ',' && next_digits == 3 && tokens[start].len() <= 3 => {
                    cents += thousands * factor;
                    factor *= 1000;
                    found.push(Amount { start, end, cents });
                }
                _ => break,
            }
        }
    }
    found
}

fn last_amount(tokens: &[&str], decimal: char) -> Option<i64> {
    amounts(tokens, decimal).last().map(|amount| amount.cents)
}

/// `$1,234.56` → 123456, if it has exactly two decimals.
fn cents(token: &str, decimal: char) -> Option<i64> {
    let token = token.trim_start_matches(['$', '£', '€']);
    let (whole, fraction) = token.rsplit_once(decimal)?;
    let group = if decimal == ',' { '.' } else { ',' };
    let digits: String = whole.chars().filter(|c| *c != group).chain(fraction.chars()).collect();
    let plain = fraction.len() == 2 && digits.len() > 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// The date at the start of a text, as `2025-03-31`.
fn date(text: &str, style: DateStyle) -> Option<String> {
    let mut parts = text.split([' ', ',', '.', '/', '-']).filter(|part| !part.is_empty());
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
    let (year, month, day) = match style {
        DateStyle::Iso => (first, second, third),
        DateStyle::DayFirst => (third, second, first),
        DateStyle::MonthFirst => (third, first, second),
    };
    let month = match month.parse::<usize>() {
        Ok(number) => number,
        Err(_) => MONTHS.iter().position(|name| month.to_lowercase().starts_with(name))? + 1,
    };
    let (year, day): (u32, u32) = (year.parse().ok()?, day.parse().ok()?);
    let plausible = (1..=12).contains(&month) && (1..=31).contains(&day) && year >= 1970;
    plausible.then(|| format!("{year:04}-{month:02}-{day:02}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_parsed_in_every_notation() {
        for (text, decimal, expected) in [
            ("$1,234.56", '.', Some(123_456)),
            ("1.234,56", ',', Some(123_456)),
            ("0.05", '.', Some(5)),
            ("12", '.', None),
            ("1.5", '.', None),
            ("v1.25", '.', None),
        ] {
            assert_eq!(cents(text, decimal), expected, "{text}");
        }
        assert_eq!(last_amount(&["20", "%", "1", "545,78", "EUR"], ','), Some(154_578));
    }

    #[test]
    fn a_quantity_is_distinguished_from_an_amount_with_blanks() {
        assert_eq!(
            line_item("Révision du guindeau 450,34 EUR 16 7 205,44 EUR", ','),
            Some(720_544)
        );
        assert_eq!(line_item("Manille inox 11,23 EUR 21 235,83 EUR", ','), Some(23_583));
        assert_eq!(line_item("2 Drahtseil 16 mm 20 12,12 € 242,40 €", ','), Some(24_240));
        assert_eq!(line_item("Carried forward 13812.90", '.'), None);
        assert_eq!(line_item("Grand total EUR 48123.45", '.'), None);
    }

    #[test]
    fn dates_are_parsed_in_every_notation() {
        for (text, style) in [
            ("2025-03-09 and more", DateStyle::Iso),
            ("09.03.2025", DateStyle::DayFirst),
            ("9 Mar 2025", DateStyle::DayFirst),
            ("03/09/2025", DateStyle::MonthFirst),
            ("March 9, 2025", DateStyle::MonthFirst),
        ] {
            assert_eq!(date(text, style).as_deref(), Some("2025-03-09"), "{text}");
        }
        assert_eq!(date("13/41/2025", DateStyle::DayFirst), None);
    }
}
