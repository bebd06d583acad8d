//! What the demo prints.

use jiff::{Timestamp, Zoned, tz::TimeZone};
use std::{
    io::{self, IsTerminal, Write},
    time::Instant,
};

/// Where the dots after a step end.
const DOTS_TO: usize = 57;

/// Standard output, for people.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    terminal: bool,
    colours: bool,
}

/// A step of the start. It shows on a terminal that it is under way.
#[derive(Debug)]
#[must_use]
pub struct Step {
    screen: Screen,
    name: &'static str,
    what: String,
    started: Instant,
}

impl Screen {
    /// Looks where standard output goes.
    pub fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
        Self { terminal, colours }
    }

    /// Begins a step of the start.
    pub fn step(self, name: &'static str, what: impl Into<String>) -> Step {
        let what = what.into();
        if self.terminal {
            print!("  {name:<12} {what} ...");
            // A terminal that cannot be flushed shows the line a little later.
            let _late = io::stdout().flush();
        }
        Step { screen: self, name, what, started: Instant::now() }
    }

    /// A line of the start that took no time.
    pub fn fact(self, name: &str, what: &str) {
        println!("  {name:<12} {what}");
    }

    /// Something that happened at `at`, in local time.
    pub fn event(self, at: Timestamp, subject: &str, text: &str) {
        let time = at.to_zoned(TimeZone::system()).strftime("%H:%M:%S");
        println!("  {time}  {subject:<9} {text}");
    }

    /// Something that happened just now.
    pub fn now(self, subject: &str, text: &str) {
        self.event(Zoned::now().timestamp(), subject, text);
    }

    /// An empty line.
    pub fn blank(self) {
        println!();
    }

    /// A broker's state in capitals, coloured where that helps.
    pub fn state(self, state: &str) -> String {
        let capitals = state.to_uppercase();
        if !self.colours {
            return capitals;
        }
        let colour = match state {
            "Healthy" => 32,
            "Overloaded" | "Recovering" => 33,
            "Unhealthy" => 31,
            _ => 36,
        };
        format!("\x1b[{colour}m{capitals}\x1b[0m")
    }
}

impl Step {
    /// Ends the step with what came of it.
    pub fn done(self, outcome: &str) {
        let Self { screen, name, what, started } = self;
        if screen.terminal {
            print!("\r\x1b[K");
        }
        let dots = ".".repeat(DOTS_TO.saturating_sub(what.chars().count() + 15).max(3));
        let took = match started.elapsed().as_secs() {
            0 => String::new(),
            seconds => format!("   {seconds} s"),
        };
        println!("  {name:<12} {what} {dots} {outcome}{took}");
    }

    /// Ends the transient line, because something else is going to print now.
    pub fn give_way(&self) {
        if self.screen.terminal {
            println!();
        }
    }
}
