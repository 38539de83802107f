//! Interleaved measurements. A shared machine is faster in one minute and slower in the next, so what is compared is
//! measured turn by turn, and only ratios within one round are formed.

use anyhow::{Context, Result};

use crate::drive::{Asks, Sample, Target, Until, drive};

/// Something that can be measured any number of times.
pub(crate) struct Contender<'a> {
    name: String,
    run: Box<dyn FnMut(Until) -> Result<Sample> + 'a>,
}

impl<'a> Contender<'a> {
    /// A server under load.
    pub(crate) fn server(
        name: impl Into<String>,
        target: Target,
        concurrency: usize,
        asks: Asks,
    ) -> Contender<'a> {
        let run = move |until| drive(target, concurrency, until, &asks);
        Contender { name: name.into(), run: Box::new(run) }
    }

    /// A loop of one thread: each time something is made ready, which does not count, and done.
    pub(crate) fn repeat<T>(
        name: impl Into<String>,
        mut ready: impl FnMut() -> T + 'a,
        mut what: impl FnMut(T) -> Result<()> + 'a,
    ) -> Contender<'a> {
        let run = move |until| Sample::of_loop(until, &mut ready, &mut what);
        Contender { name: name.into(), run: Box::new(run) }
    }
}

/// The samples of each contender, by round.
pub(crate) struct Rounds(Vec<Vec<Sample>>);

/// A ratio of requests a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ratio {
    /// The median of the rounds.
    pub(crate) median: f64,
    /// The smallest of the rounds.
    pub(crate) low: f64,
    /// The largest of the rounds.
    pub(crate) high: f64,
}

/// Measures all contenders, round by round; every second round goes backwards, so that none is always the first.
pub(crate) fn rounds(count: usize, until: Until, mut contenders: Vec<Contender<'_>>) -> Result<Rounds> {
    let mut samples = vec![Vec::new(); contenders.len()];
    for round in 0..count {
        for turn in 0..contenders.len() {
            let index = if round % 2 == 0 { turn } else { contenders.len() - 1 - turn };
            let contender = &mut contenders[index];
            let sample = (contender.run)(until).with_context(|| contender.name.clone())?;
            samples[index].push(sample);
        }
    }
    for (contender, samples) in contenders.iter().zip(&samples) {
        let sample = median(samples);
        eprintln!(
            "    {:<28} {:>9.0}/s  p50 {:>8.0} us  p99 {:>8.0} us  CPU {:>7.1} us (client {:.1})",
            contender.name,
            sample.per_second,
            sample.p50_us,
            sample.p99_us,
            sample.cpu_us,
            sample.client_cpu_us
        );
    }
    Ok(Rounds(samples))
}

impl Rounds {
    /// The medians of a contender.
    pub(crate) fn median(&self, contender: usize) -> Sample {
        median(&self.0[contender])
    }

    /// Requests a second of one against another.
    pub(crate) fn ratio(&self, of: usize, against: usize) -> Ratio {
        let pairs = self.0[of].iter().zip(&self.0[against]);
        let mut ratios: Vec<f64> = pairs.map(|(of, against)| of.per_second / against.per_second).collect();
        ratios.sort_by(f64::total_cmp);
        Ratio {
            median: middle(&ratios),
            low: ratios.first().copied().unwrap_or_default(),
            high: ratios.last().copied().unwrap_or_default(),
        }
    }
}

fn median(samples: &[Sample]) -> Sample {
    let of = |value: fn(&Sample) -> f64| {
        let mut values: Vec<f64> = samples.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        middle(&values)
    };
    Sample {
        requests: samples.iter().map(|sample| sample.requests).sum(),
        per_second: of(|sample| sample.per_second),
        p50_us: of(|sample| sample.p50_us),
        p99_us: of(|sample| sample.p99_us),
        cpu_us: of(|sample| sample.cpu_us),
        client_cpu_us: of(|sample| sample.client_cpu_us),
        peak_mib: of(|sample| sample.peak_mib),
    }
}

/// The median of sorted values.
fn middle(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}
