//! The text of all metrics, in the form of OpenMetrics 1.0.
//!
//! Whoever has something to tell is handed a [`Page`] and writes its metrics on it; nothing is formatted before
//! somebody asks.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::metrics::histogram::Histogram;

/// The media type of the text.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The media type of [`plain`].
pub const PLAIN_MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What metrics are written on. Names are given in full, without `_total`; help is a sentence without its full stop.
#[derive(Debug)]
pub struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    /// A counter with labels: as many samples as there are label sets.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
        }
        Ok(())
    }

    /// A counter.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    /// A counter of seconds.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn counter_of_seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    /// A gauge with labels.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// A gauge.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// A gauge that may have no value.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn gauge_if(&mut self, name: &str, help: &str, value: Option<f64>) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        value.map_or(Ok(()), |value| metric.encode_gauge(&value))
    }

    /// A histogram with labels.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn histograms<'h, L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, &'h Histogram)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, histogram) in samples {
            let held = histogram.held();
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                held.sum,
                held.count,
                &held.buckets,
                None,
            )?;
        }
        Ok(())
    }

    /// A histogram.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        let held = histogram.held();
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(held.sum, held.count, &held.buckets, None)
    }

    /// What does not change while the program runs, as labels of a metric that is always 1. `_info` is added to its
    /// name.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&labels)
    }
}

/// The text that `tell` writes, with its end mark. Blocks for as long as that takes.
///
/// # Errors
/// When the text cannot be written.
pub fn text(
    tell: impl Fn(&mut Page<'_>) -> fmt::Result + Send + Sync + 'static,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Telling(tell)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// The same text in the form that Prometheus had before OpenMetrics, which some collectors still ask for: a counter is
/// called by its whole name, there is no kind `info`, and no end mark.
pub fn plain(openmetrics: &str) -> String {
    let mut plain = String::with_capacity(openmetrics.len() + openmetrics.len() / 64);
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(told) = line.strip_prefix("# HELP ") {
            help = told.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|told| told.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            if let Some((_, words)) = help.take() {
                plain.push_str(&format!("# HELP {name}{suffix} {words}\n"));
            }
            plain.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if line != "# EOF" {
            plain.push_str(line);
            plain.push('\n');
        }
    }
    plain
}

struct Telling<F>(F);

impl<F> fmt::Debug for Telling<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Telling")
    }
}

impl<F: Fn(&mut Page<'_>) -> fmt::Result + Send + Sync + 'static> Collector for Telling<F> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(&mut Page(encoder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_metric_is_written_as_openmetrics_has_it() {
        let text = text(|page| {
            page.counter("a", "Help", 3)?;
            page.counters("b", "Help", [([("tenant", "acme"), ("route", "read_user")], 7)])?;
            page.gauge("c", "Help", 0.5)?;
            page.gauges("d", "Help", [([("tenant", "acme")], 12.0)])?;
            page.info("e", "Help", &[("version", "1.0")])?;
            let histogram = Histogram::of_counts(&[1, 4]);
            histogram.observe_count(2);
            page.histogram("f", "Help", &histogram)
        });
        let expected = "\
# HELP a Help
# TYPE a counter
a_total 3
# HELP b Help
# TYPE b counter
b_total{tenant=\"acme\",route=\"read_user\"} 7
# HELP c Help
# TYPE c gauge
c 0.5
# HELP d Help
# TYPE d gauge
d{tenant=\"acme\"} 12.0
# HELP e Help
# TYPE e info
e_info{version=\"1.0\"} 1
# HELP f Help
# TYPE f histogram
f_sum 2.0
f_count 1
f_bucket{le=\"1.0\"} 0
f_bucket{le=\"4.0\"} 1
f_bucket{le=\"+Inf\"} 1
# EOF
";
        assert_eq!(text.unwrap(), expected);
    }

    #[test]
    fn the_older_form_calls_counters_by_their_whole_name_and_has_no_info() {
        let text = text(|page| {
            page.counter("a", "Help me", 3)?;
            page.info("b", "Help", &[("version", "1.0")])?;
            page.gauge("c", "Help", 1.0)
        });
        let expected = "\
# HELP a_total Help me
# TYPE a_total counter
a_total 3
# HELP b_info Help
# TYPE b_info gauge
b_info{version=\"1.0\"} 1
# HELP c Help
# TYPE c gauge
c 1.0
";
        assert_eq!(plain(&text.unwrap()), expected);
    }
}
