//! A headless Chromium, driven by WebDriver (<https://www.w3.org/TR/webdriver2/>) through chromedriver: plain HTTP and
//! JSON, so it needs no library.

use doctorkafka_testbed::{Process, find_program, free_port, wait_until};
use serde_json::{Value, json};
use std::{future, time::Duration};
use tokio::process::Command;

/// No single command takes longer, except on a machine that is stuck.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// A browser with one window. Dropping it ends the browser and its driver.
pub struct Browser {
    agent: ureq::Agent,
    session: String,
    _driver: Process,
    _folder: tempfile::TempDir,
}

impl Browser {
    pub async fn start() -> Self {
        for program in ["chromium", "chromedriver"] {
            assert!(
                find_program(&program.into()).is_some(),
                "{program} not found: this test needs a browser; install it with `apt-get install -y chromium chromium-driver`"
            );
        }
        let folder = tempfile::tempdir().unwrap();
        let port = free_port().unwrap();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}"));
        let driver = Process::spawn("chromedriver", command, folder.path().join("chromedriver.log")).unwrap();
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(COMMAND_LIMIT))
            .build()
            .into();

        let server = format!("http://127.0.0.1:{port}");
        wait_until("chromedriver", Duration::from_secs(30), || {
            let status = agent.get(format!("{server}/status")).call();
            future::ready(status.is_ok_and(|answer| answer.status() == 200))
        })
        .await
        .unwrap();

        let profile = folder.path().join("profile");
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", "--window-size=1280,1000",
                // The browser ends with its driver, however that ends.
                "--remote-debugging-pipe",
                format!("--user-data-dir={}", profile.display()),
            ]},
        }}});
        let session = command_to(&agent, &format!("{server}/session"), &capabilities);
        let session = format!("{server}/session/{}", session["sessionId"].as_str().unwrap());
        Self { agent, session, _driver: driver, _folder: folder }
    }

    pub fn open(&self, url: &str) {
        self.command("url", &json!({"url": url}));
    }

    /// Makes the page as wide as on another device; windows have a least width.
    pub fn resize(&self, width: u32) {
        let device = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        let command = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": device});
        self.command("goog/cdp/execute", &command);
    }

    /// Runs the body of a function in the page.
    pub fn run(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({"script": script, "args": []}))
    }

    /// Waits until an expression in the page is true.
    pub async fn wait_for(&self, what: &str, expression: &str) {
        let found = wait_until(what, Duration::from_secs(20), || {
            future::ready(self.run(&format!("return Boolean({expression})")) == true)
        })
        .await;
        if let Err(error) = found {
            panic!("{error}\nthe page says: {}", self.run("return document.body.innerText"));
        }
    }

    /// What the browser holds against the page since the last call: errors of scripts and breaches of the content
    /// security policy among it.
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.command("se/log", &json!({"type": "browser"}));
        let entries = entries.as_array().unwrap().iter();
        entries.filter(|entry| entry["level"] == "SEVERE").map(|entry| entry["message"].to_string()).collect()
    }

    fn command(&self, name: &str, body: &Value) -> Value {
        command_to(&self.agent, &format!("{}/{name}", self.session), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Closes the browser; its driver is killed after that, when `_driver` is dropped.
        let _closed = self.agent.delete(&self.session).call();
    }
}

fn command_to(agent: &ureq::Agent, url: &str, body: &Value) -> Value {
    let mut answer =
        agent.post(url).header("content-type", "application/json").send(body.to_string()).unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    assert_eq!(answer.status(), 200, "{url}: {text}");
    serde_json::from_str::<Value>(&text).unwrap()["value"].take()
}
