//! Quantities of Kubernetes, such as `10m` and `64Mi`, as far as they must be compared.

use std::{fmt, str::FromStr};

/// A quantity as it was written; compares by value.
#[derive(Debug, Clone)]
pub struct Quantity {
    text: String,
    /// In thousandths.
    milli: u128,
}

impl Quantity {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.milli == other.milli
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.milli.cmp(&other.milli)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Quantity {
    type Err = String;

    /// Reads what Kubernetes writes (`resource.Quantity`), but no exponents and nothing below a thousandth.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        read(text)
            .map(|milli| Self { text: text.to_owned(), milli })
            .ok_or_else(|| "expected a Kubernetes quantity, such as 10m or 64Mi".to_owned())
    }
}

fn read(text: &str) -> Option<u128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let milli_per_unit: u128 = match unit {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000 * 1_000,
        "M" => 1_000 * 1_000_000,
        "G" => 1_000 * 1_000_000_000,
        "T" => 1_000 * 1_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
    let whole = digits(whole)?.checked_mul(milli_per_unit)?;
    let parts = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction = digits(fraction)?.checked_mul(milli_per_unit)?;
    // A rest is below a thousandth.
    (fraction % parts == 0).then(|| whole.checked_add(fraction / parts))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_amount_is_equal_however_it_is_written() {
        let quantity = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!(quantity("1"), quantity("1000m"));
        assert_eq!(quantity("0.5"), quantity("500m"));
        assert_eq!(quantity("1.5Gi"), quantity("1536Mi"));
        assert_eq!(quantity("1Ki"), quantity("1024"));
        assert!(quantity("64M") < quantity("64Mi"));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in
            ["", "m", ".", "-1", "1e3", "10 m", "0.0005", "1.5.5", "9999999999999999999999999999999Ti"]
        {
            assert!(text.parse::<Quantity>().is_err(), "{text:?}");
        }
    }
}
