//! The dashboard in a real browser: what changes in a cluster shows up on an open page by itself.

#![allow(clippy::unwrap_used)]

mod browser;
#[path = "../common/mod.rs"]
mod common;

use browser::Browser;
use common::{action, broker, fleet_of, full_report, healthy, overloaded, report};
use doctorkafka_diagnosis::{BrokerState, Reason};
use doctorkafka_operator::{
    cli::{HttpArguments, Listen},
    fleet::Fleet,
    http::Sockets,
};
use doctorkafka_wire::ActionKind;
use std::{net::SocketAddr, sync::Arc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The operator's real HTTP server.
struct Server {
    address: SocketAddr,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(fleet: &Fleet, address: &str) -> Self {
        let arguments =
            HttpArguments { dashboard_listen: Listen::At(address.to_owned()), api_listen: Listen::Off };
        let sockets = Sockets::open(&arguments).await.unwrap();
        let address = sockets.dashboard().unwrap();
        let cancel = CancellationToken::new();
        let task = tokio::spawn(sockets.serve(fleet.clone(), cancel.clone()));
        Self { address, cancel, task }
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.task.await.unwrap();
    }
}

/// The text of the cell under `State` in a broker's row.
fn state_of(broker: i32) -> String {
    format!(
        "[...document.querySelectorAll('table.brokers tbody tr')]\
         .find(row => row.querySelector('.id').textContent === '{broker}')?.cells[1].innerText"
    )
}

/// Cells whose label on narrow screens is not the head of their column, and heads without a cell.
const MISLABELLED: &str = "return [...document.querySelectorAll('table')].flatMap(table =>
    [...table.tBodies[0].rows].flatMap(row => [...table.tHead.rows[0].cells]
        .filter((head, n) => (row.cells[n]?.dataset.label ?? (n === 0 ? 'Broker' : undefined)) !== head.textContent)
        .map(head => head.textContent)))";

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_state_shows_up_without_a_reload() {
    let (fleet, engine) = fleet_of(report("prod", vec![healthy(1), healthy(2), healthy(3)]));
    fleet.set_leading(true);
    let server = Server::start(&fleet, "127.0.0.1:0").await;
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/", server.address));
    browser
        .wait_for("the page to be live", "document.querySelector('#connection').innerText === 'live'")
        .await;
    browser.wait_for("broker 2 to be healthy", &format!("{} === '● HEALTHY'", state_of(2))).await;
    // A reload would lose these: a mark on the window, and one on an element that did not change.
    browser
        .run("window.mark = 'same page'; document.querySelector('table.brokers tbody tr').mark = 'same row'");

    let mut now = report("prod", vec![healthy(1), overloaded(2), healthy(3)]);
    now.actions = Arc::from([action(ActionKind::AlertOverload, 2, "CPU usage 95% > 80%")]);
    engine.send_replace(Arc::new(now));
    browser.wait_for("broker 2 to be overloaded", &format!("{} === '▲ OVERLOADED'", state_of(2))).await;
    browser
        .wait_for(
            "the alert in the actions log",
            "document.querySelector('table.actions tbody').innerText.includes('CPU usage 95% > 80%')",
        )
        .await;
    assert_eq!(browser.run(&format!("return {}", state_of(3))), "● HEALTHY");
    assert_eq!(browser.run("return document.querySelector('.tile.overloaded strong').innerText"), "1");
    assert_eq!(browser.run(MISLABELLED), serde_json::json!([]), "cells under another column's head");
    assert_eq!(browser.run("return window.mark"), "same page");
    assert_eq!(browser.run("return document.querySelector('table.brokers tbody tr').mark"), "same row");

    // Ages go on by themselves, with no push from the server.
    let age = "document.querySelector('table.brokers time').textContent";
    let before = browser.run(&format!("return {age}"));
    browser.wait_for("the age to go on", &format!("{age} !== {before}")).await;

    assert_eq!(browser.complaints(), [""; 0], "the browser has something against the page");
    drop(browser);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_page_finds_a_restarted_server_again() {
    let (fleet, engine) = fleet_of(report("prod", vec![healthy(1)]));
    let server = Server::start(&fleet, "127.0.0.1:0").await;
    let address = server.address.to_string();
    let browser = Browser::start().await;
    browser.open(&format!("http://{address}/"));
    browser
        .wait_for("the page to be live", "document.querySelector('#connection').innerText === 'live'")
        .await;
    browser.run("window.mark = 'same page'");

    server.stop().await;
    browser
        .wait_for("the loss to be said", "document.querySelector('#connection').innerText.includes('lost')")
        .await;
    let down = broker(1, BrokerState::Unhealthy, Reason::ProcessDown, "no broker process");
    engine.send_replace(Arc::new(report("prod", vec![down])));
    let server = Server::start(&fleet, &address).await;
    browser
        .wait_for("the page to be live", "document.querySelector('#connection').innerText === 'live'")
        .await;
    browser.wait_for("broker 1 to be unhealthy", &format!("{} === '✖ UNHEALTHY'", state_of(1))).await;
    assert_eq!(browser.run("return window.mark"), "same page");
    drop(browser);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_from_outside_does_nothing_in_a_browser() {
    const EVIL: &str = "<img src=x onerror=\"window.evil=1\"><script>window.evil=1</script>";
    let (fleet, engine) = fleet_of(full_report("prod"));
    let server = Server::start(&fleet, "127.0.0.1:0").await;
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/", server.address));
    browser
        .wait_for("the page to be live", "document.querySelector('#connection').innerText === 'live'")
        .await;

    let mut evil = full_report("prod");
    evil.brokers = vec![broker(1, BrokerState::Unhealthy, Reason::ProcessDown, EVIL)];
    evil.actions = Arc::from([action(ActionKind::AlertUnhealthy, 1, EVIL)]);
    engine.send_replace(Arc::new(evil));
    let shown = serde_json::to_string(EVIL).unwrap();
    for table in ["brokers", "actions"] {
        browser
            .wait_for(
                "the text as it is",
                &format!("document.querySelector('table.{table} tbody').textContent.includes({shown})"),
            )
            .await;
    }
    assert_eq!(browser.run("return window.evil ?? null"), serde_json::Value::Null);
    assert_eq!(browser.complaints(), [""; 0]);
    drop(browser);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_fits_a_phone_a_tablet_and_a_desk() {
    let (fleet, _engine) = fleet_of(full_report("prod"));
    let server = Server::start(&fleet, "127.0.0.1:0").await;
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/", server.address));
    for width in [360, 800, 1040, 1280, 1920] {
        browser.resize(width);
        browser.wait_for("the width", &format!("innerWidth === {width}")).await;
        let sideways = browser.run("return document.documentElement.scrollWidth - innerWidth");
        assert!(sideways.as_i64().unwrap() <= 0, "{sideways} pixels too wide at {width}");
        let narrowest =
            "return Math.min(...[...document.querySelectorAll('.message')].map(m => m.offsetWidth))";
        let message = browser.run(narrowest).as_i64().unwrap();
        assert!(message >= 100, "messages are {message} pixels wide at {width}");
    }
    drop(browser);
    server.stop().await;
}
