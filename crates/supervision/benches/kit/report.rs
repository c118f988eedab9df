//! The figures of a run, and the table of them.

/// What a figure should be.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// It is printed for comparison.
    None,
}

struct Figure {
    what: String,
    unit: &'static str,
    value: f64,
    spread: (f64, f64),
    goal: Goal,
}

/// All figures of a run.
#[derive(Default)]
pub(crate) struct Report(Vec<Figure>);

impl Report {
    /// The median of these samples, with the smallest and the largest as its spread.
    pub(crate) fn median(
        &mut self,
        what: impl Into<String>,
        unit: &'static str,
        samples: &[f64],
        goal: Goal,
    ) {
        self.quantile(what, unit, (samples, samples), 0.5, goal);
    }

    /// A quantile of all samples. Its spread is that of `parts`, which are the same quantile of parts of the samples.
    pub(crate) fn quantile(
        &mut self,
        what: impl Into<String>,
        unit: &'static str,
        (samples, parts): (&[f64], &[f64]),
        share: f64,
        goal: Goal,
    ) {
        let spread = (quantile(parts, 0.0), quantile(parts, 1.0));
        let value = quantile(samples, share);
        self.0.push(Figure { what: what.into(), unit, value, spread, goal });
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        println!("\n{:<72}{:>12}{:>24}{:>14}  met", "what", "value", "spread", "goal");
        for Figure { what, unit, value, spread, goal } in &self.0 {
            let of = |value: f64| format!("{}{unit}", rounded(value));
            let (goal, met) = match *goal {
                Goal::AtLeast(least) => {
                    (format!(">= {}", of(least)), if *value >= least { "yes" } else { "NO" })
                }
                Goal::AtMost(most) => (format!("<= {}", of(most)), if *value <= most { "yes" } else { "NO" }),
                Goal::None => (String::new(), ""),
            };
            let spread = format!("{} to {}", rounded(spread.0), rounded(spread.1));
            println!("{what:<72}{:>12}{spread:>24}{goal:>14}  {met}", of(*value));
        }
    }
}

/// A quantile of samples in any order; `share` is 0.5 for the median.
pub(crate) fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// Three significant digits, and whole numbers in full.
fn rounded(value: f64) -> String {
    let decimals = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}
