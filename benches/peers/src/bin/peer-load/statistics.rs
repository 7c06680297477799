//! Medians and quartiles.

use serde::Serialize;

/// The middle of some figures, and the half of them around it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// Quartiles, each halfway between the figures beside it where it falls between two.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let at = |quarters: usize| {
            let last = figures.len().saturating_sub(1);
            let (low, high) = (last * quarters / 4, (last * quarters).div_ceil(4));
            figures
                .get(low)
                .copied()
                .unwrap_or(f64::NAN)
                .midpoint(figures.get(high).copied().unwrap_or(f64::NAN))
        };
        Self {
            low: at(1),
            median: at(2),
            high: at(3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_between_their_neighbours() {
        let spread = |figures: &[f64]| {
            let Spread { low, median, high } = Spread::of(figures.iter().copied());
            (low, median, high)
        };
        assert_eq!(spread(&[4.0, 1.0, 3.0, 2.0, 5.0]), (2.0, 3.0, 4.0));
        assert_eq!(spread(&[2.0, 1.0]), (1.5, 1.5, 1.5));
        assert_eq!(spread(&[7.0]), (7.0, 7.0, 7.0));
    }
}
