//! How far a long command has come, on stderr and on a terminal only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a line that only says that work goes on is drawn anew.
const TICK: Duration = Duration::from_millis(120);

/// A line that is drawn over and over while work goes on, and is gone afterwards.
pub struct Progress(ProgressBar);

impl Progress {
    /// Work whose length nobody knows.
    pub fn endless(what: &str) -> Progress {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(style("{spinner} {msg} {human_pos} {elapsed}"));
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(TICK);
        Progress(bar)
    }

    /// Work of so many steps.
    pub fn of(steps: u64, what: &str) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
        bar.set_style(style("{msg} [{bar:30}] {human_pos}/{human_len} {elapsed} of about {duration}"));
        bar.set_message(what.to_owned());
        Progress(bar)
    }

    /// So many more steps are done.
    pub fn step(&self, steps: u64) {
        self.0.inc(steps);
    }

    /// Says from now on what is being done, in other words.
    pub fn says(&self, what: String) {
        self.0.set_message(what);
    }

    /// Runs what writes to the terminal by itself without the line in its way.
    pub fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
