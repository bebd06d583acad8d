//! The dashboard's one page.

use super::cluster;
use crate::fleet::FleetView;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

/// A cross on a green ground: the icon needs no file and no request.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect \
                    width='16' height='16' rx='3' fill='%23157f5b'/%3E%3Cpath d='M6.5 3h3v3.5H13v3H9.5V13h-3V9.5H3v-3h3.5z' \
                    fill='white'/%3E%3C/svg%3E";

/// The whole page.
pub(super) fn whole(fleet: &FleetView, now: Timestamp) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "DoctorKafka" }
                link rel="icon" href=(ICON);
                link rel="stylesheet" href="/dashboard.css";
                noscript { meta http-equiv="refresh" content="5"; }
                script src="/dashboard.js" defer {}
            }
            body {
                header.top {
                    h1 { "DoctorKafka" }
                    // The script says here whether the page is live.
                    p.connection #connection role="status" { noscript { "reloads every 5 s" } }
                }
                main #fleet { (content(fleet, now)) }
                footer { p { "DoctorKafka " (env!("CARGO_PKG_VERSION")) ". This page is read-only." } }
            }
        }
    }
}

/// What changes: one element, pushed to open pages as it stands.
pub(super) fn content(fleet: &FleetView, now: Timestamp) -> Markup {
    html! {
        div data-now=(now) {
            p.instance {
                "This instance "
                strong {
                    (match fleet.leading {
                        Some(true) => "leads",
                        Some(false) => "stands by",
                        None => "waits for the election",
                    })
                }
                "."
            }
            @if fleet.policies.is_empty() {
                p.empty { "No policy is being watched." }
            }
            @if fleet.policies.len() > 1 {
                nav aria-label="Clusters" {
                    ul {
                        @for (index, policy) in fleet.policies.iter().enumerate() {
                            li { a href=(format!("#{}", cluster::anchor(index))) { (policy.name) } " " (cluster::glance(policy)) }
                        }
                    }
                }
            }
            @for (index, policy) in fleet.policies.iter().enumerate() {
                (cluster::section(policy, index, now))
            }
        }
    }
}
