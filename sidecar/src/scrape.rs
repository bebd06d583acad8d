//! Reads the broker's Prometheus page, where it has one, beside the measuring loop.

mod figures;
mod line;

use anyhow::Context;
use figures::Meter;
pub use figures::Scraped;
use std::{
    io::{BufRead, BufReader, Read},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// A page may take a broker seconds to write when it has many partitions; nothing on it changes a decision within
/// seconds.
const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(5);
/// Figures older than this are no longer told.
const STALE: Duration = Duration::from_secs(35);

/// Largest page that is read, bytes, and the longest line of it that is looked at.
const MAX_PAGE: u64 = 4 * 1024 * 1024;
const MAX_LINE: u64 = 4 * 1024;

/// Reads the page every ten seconds. The receiver holds the newest figures and when they were read. Ends when the
/// receiver is dropped.
pub fn watch_page(url: String) -> watch::Receiver<Option<(Instant, Scraped)>> {
    let (sender, receiver) = watch::channel(None);
    let shown = without_secrets(&url);
    tokio::spawn(async move {
        let mut meter = Meter::default();
        let mut works = None;
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !sender.is_closed() {
            ticks.tick().await;
            let page = url.clone();
            let lines = tokio::task::spawn_blocking(move || fetch(&page)).await;
            let now = Instant::now();
            let outcome =
                lines.context("the scrape ended unexpectedly").flatten().map(|lines| meter.read(&lines, now));
            match outcome {
                Ok(figures) => {
                    if works != Some(true) {
                        tracing::info!(url = shown, "scraping the broker's exporter");
                    }
                    works = Some(true);
                    sender.send_replace(Some((now, figures)));
                }
                Err(error) => {
                    if works != Some(false) {
                        tracing::warn!(
                            url = shown,
                            "cannot scrape the broker's exporter, leaving its figures out: {error:#}"
                        );
                    }
                    works = Some(false);
                }
            }
        }
    });
    receiver
}

/// The address as it may stand in a log: without a password before the host and without a token after the path.
fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// The newest figures, unless they are too old to tell.
pub fn fresh(newest: &Option<(Instant, Scraped)>, now: Instant) -> Option<Scraped> {
    let (at, figures) = newest.as_ref()?;
    (now.saturating_duration_since(*at) <= STALE).then(|| figures.clone())
}

/// The lines of the page that may matter. The rest, most of it per topic, is dropped while it is read.
fn fetch(url: &str) -> anyhow::Result<Vec<String>> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        // The address names the broker's own exporter: neither a proxy nor a redirect leads there.
        .proxy(None)
        .max_redirects(0)
        .build();
    let response = ureq::Agent::new_with_config(config).get(url).call()?;
    anyhow::ensure!(response.status().is_success(), "HTTP status {}", response.status());
    let body = response.into_body().into_with_config().limit(MAX_PAGE).reader();
    wanted_lines(BufReader::new(body)).context("the page could not be read to its end")
}

fn wanted_lines(mut page: impl BufRead) -> std::io::Result<Vec<String>> {
    let mut wanted = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if page.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(wanted);
        }
        // The rest of a line that is too long comes as further lines, which begin like nothing that is wanted.
        if let Ok(text) = std::str::from_utf8(&line)
            && figures::may_matter(text)
        {
            wanted.push(text.trim_end().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, net::TcpListener};

    /// Serves one response on a free port and gives its address.
    fn serve(response: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).unwrap();
            let _ = stream.write_all(response.as_bytes());
        });
        url
    }

    #[test]
    fn reads_a_page_and_keeps_what_matters() {
        let body = "# HELP x y\nkafka_server_replicamanager_underreplicatedpartitions 3.0\nother 1\n";
        let url = serve(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        assert_eq!(fetch(&url).unwrap(), ["kafka_server_replicamanager_underreplicatedpartitions 3.0"]);
    }

    #[test]
    fn says_what_went_wrong() {
        let url = serve("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".into());
        assert!(format!("{:#}", fetch(&url).unwrap_err()).contains("503"));
        let url =
            serve("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".into());
        assert!(fetch(&url).is_err(), "redirects are not followed");
    }

    #[test]
    fn what_may_be_secret_stays_out_of_the_log() {
        for (url, shown) in [
            ("http://127.0.0.1:9404/metrics", "http://127.0.0.1:9404/metrics"),
            ("http://kafka-1:9404", "http://kafka-1:9404"),
            ("http://reader:pass@word@kafka-1:9404/metrics?token=abc#x", "http://kafka-1:9404/metrics"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }

    #[test]
    fn a_page_without_end_is_cut_off() {
        let body = "x".repeat(5 * 1024 * 1024);
        let url = serve(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        assert!(fetch(&url).is_err());
    }

    #[test]
    fn figures_grow_old() {
        let now = Instant::now();
        let newest = Some((now, Scraped::default()));
        assert!(fresh(&newest, now + STALE).is_some());
        assert!(fresh(&newest, now + STALE + Duration::from_secs(1)).is_none());
        assert!(fresh(&None, now).is_none());
    }
}
