//! The alerts' part of the tree, if a webhook is configured.

use std::sync::{Arc, OnceLock, Weak};

use actors::{
    alerts::{AlertBook, AlertMetrics, Alerts},
    collector::Notice,
    env::Services,
};
use color_eyre::eyre::Result;
use supervision::{Address, Child, Clock, Mailbox, Overflow, Tree};

use super::policy::{limits, policy};
use crate::config::Config;

/// The sender by whose name the edge to the alerts is declared first; each notifier gets it by its own name.
const NOTIFIER: &str = "notifier";

/// The actor of the alerts, and the edge to it. It reads the records of this tree, once it is started.
///
/// # Errors
/// A file of certificates that can't be read.
pub(super) fn child(
    config: &Config,
    services: &Services,
    tree: &Arc<OnceLock<Weak<Tree>>>,
    clock: &Clock,
) -> Result<Option<(Child, Address<Notice>)>> {
    let Some(webhook) = config.alerts.webhook()? else { return Ok(None) };
    let mailbox = Mailbox::new("alerts", limits(&config.mailbox), clock);
    // Nothing waits for an alert: the oldest ones are dropped, and the log has them.
    let edge = mailbox.address(NOTIFIER, Overflow::DropOldest);
    let book = AlertBook::default();
    AlertMetrics::register(services.telemetry.meter()).observe(book.clone());
    let (tree, services) = (tree.clone(), services.clone());
    let make = move || {
        let tree = tree.clone();
        let records = move || tree.get().and_then(Weak::upgrade).map_or_else(Vec::new, |tree| tree.health());
        Alerts::new(webhook.clone(), Arc::new(records), book.clone(), services.clone())
    };
    Ok(Some((Child::actor(mailbox, make).policy(policy(&config.supervision)), edge)))
}
