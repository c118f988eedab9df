//! `outbox`: shows the calls that the relayer is to get, and changes them, beside trackers that run.
//!
//! Results go to standard output, questions and notes to standard error.

use std::{env, process::ExitCode, time::Duration};

use color_eyre::eyre::{Result, WrapErr as _, bail, ensure};
use domain::chain::ContractAddress;
use store_collector::{
    ChainKeys,
    outbox::{Outbox, Stage},
};

use super::{
    consent::{Consent, consent},
    output::{print, print_to_stderr},
};
use crate::{
    cli::{ListArgs, OrderArgs, OutboxAction},
    config::Loaded,
    escape::escaped,
    exit::{FAILURE, SUCCESS, USAGE},
    outbox::{CallView, Done, LaneView, Order, OutboxDesk, Verb},
    service,
};

/// How many calls are shown before a question.
const SHOWN: usize = 10;

/// Runs a command about the outbox.
///
/// # Errors
/// Redis that does not answer, and orders that can't be followed.
pub async fn outbox(action: &OutboxAction, loaded: &Loaded) -> Result<ExitCode> {
    let config = &loaded.config;
    ensure!(
        config.output.prefix.is_empty(),
        "a shadow has no outbox: under output.prefix the relayer is told nothing"
    );
    let desk = OutboxDesk::new(service::connect(config)?, Outbox::new(ChainKeys::new("")));
    match action {
        OutboxAction::List(args) => list(args, &desk).await,
        OutboxAction::Show { market, id, stage } => {
            let market = address(market)?;
            let found = desk.calls(market, stage.unwrap_or(Stage::Waiting), Some(id), 1).await?;
            let Some(call) = found.first().filter(|call| call.id == *id) else {
                bail!(
                    "market {market} has no such call at this stage; `state-tracker outbox list {market}` shows the ids"
                )
            };
            print(&format!("{:#}\n", serde_json::to_value(call)?))?;
            Ok(SUCCESS.into())
        }
        OutboxAction::Audit { count, json } => audit(&desk, *count, *json).await,
        OutboxAction::Pause { market, why, json } => {
            let order = Order { why: why.clone(), ..order(market, Verb::Pause)? };
            finish(&desk.follow(&order, &who()).await?, *json)
        }
        OutboxAction::Resume { market, json } => {
            finish(&desk.follow(&order(market, Verb::Resume)?, &who()).await?, *json)
        }
        OutboxAction::Retry(args) => change(args, Verb::Retry, None, &desk).await,
        OutboxAction::Drop { stage, order } => change(order, Verb::Drop, Some(*stage), &desk).await,
        OutboxAction::Replay(args) => change(args, Verb::Replay, None, &desk).await,
    }
}

/// Who acts, for the audit log.
fn who() -> String {
    let user = env::var("USER").or_else(|_| env::var("LOGNAME")).unwrap_or_else(|_| "unknown".to_owned());
    errors::sanitise(format!("{user} by the command line"))
}

fn address(market: &str) -> Result<ContractAddress> {
    market.parse().wrap_err("the market must be an address, 0x and 40 hex digits")
}

fn order(market: &str, action: Verb) -> Result<Order> {
    Ok(Order {
        market: address(market)?,
        action,
        why: String::new(),
        stage: None,
        all: false,
        ids: std::collections::BTreeSet::new(),
        from_epoch: None,
        to_epoch: None,
        preview: false,
    })
}

async fn list(args: &ListArgs, desk: &OutboxDesk) -> Result<ExitCode> {
    let Some(market) = &args.market else {
        let lanes = desk.lanes().await?;
        let text = match lanes.is_empty() {
            true => "no market has a lane: the relayer was never to be told something\n".to_owned(),
            false => lanes.iter().map(lane_line).collect(),
        };
        print(&if args.json { format!("{:#}\n", serde_json::to_value(&lanes)?) } else { text })?;
        return Ok(SUCCESS.into());
    };
    let stage = args.stage.unwrap_or(Stage::Waiting);
    let calls = desk.calls(address(market)?, stage, args.from.as_deref(), args.count).await?;
    if args.json {
        print(&format!("{:#}\n", serde_json::to_value(&calls)?))?;
        return Ok(SUCCESS.into());
    }
    print(&calls.iter().map(call_line).collect::<String>())?;
    if let Some(last) = calls.last().filter(|_| calls.len() == args.count) {
        print_to_stderr(&format!("note: there may be more: repeat with --from '({}'", last.id));
    }
    Ok(SUCCESS.into())
}

fn lane_line(lane: &LaneView) -> String {
    let rounded = errors::rounded(Duration::from_secs_f64(lane.oldest_seconds));
    let mut line = format!("{}: {} waiting", lane.market, lane.waiting);
    if lane.waiting > 0 {
        line += &format!(" (the first for {rounded})");
    }
    line += &format!(", {} dead, {} to be sent again, {} sent", lane.dead, lane.again, lane.sent);
    for (what, hold) in [("paused", &lane.paused), ("denied", &lane.denied)] {
        if let Some(hold) = hold {
            line += &format!("; {what} by {}: {}", escaped(&hold.by), escaped(&hold.why));
        }
    }
    line + "\n"
}

fn call_line(call: &CallView) -> String {
    let why = call.why.as_deref().map(|why| format!("  {}", escaped(why))).unwrap_or_default();
    format!("{}  {}{why}\n", escaped(&call.id), escaped(&call.call.to_string()))
}

async fn audit(desk: &OutboxDesk, count: usize, json: bool) -> Result<ExitCode> {
    let actions = desk.audit(count).await?;
    if json {
        print(&format!("{:#}\n", serde_json::to_value(&actions)?))?;
        return Ok(SUCCESS.into());
    }
    let line = |action: &store_collector::outbox::Audited| {
        let at = std::time::UNIX_EPOCH + Duration::from_millis(action.at);
        let (who, what) = (escaped(&action.who), escaped(&action.what));
        format!(
            "{}  {}  {who}  {what}  {} calls\n",
            humantime::format_rfc3339_seconds(at),
            action.market,
            action.calls
        )
    };
    print(&actions.iter().map(line).collect::<String>())?;
    Ok(SUCCESS.into())
}

/// Moves or drops calls, after it has shown them.
async fn change(args: &OrderArgs, action: Verb, stage: Option<Stage>, desk: &OutboxDesk) -> Result<ExitCode> {
    let order = Order {
        stage,
        all: args.all,
        ids: args.ids.iter().cloned().collect(),
        from_epoch: args.from_epoch,
        to_epoch: args.to_epoch,
        preview: true,
        ..order(&args.market, action)?
    };
    let preview = desk.follow(&order, &who()).await?;
    if args.dry_run {
        return finish(&preview, args.json);
    }
    let mut notes: Vec<String> =
        preview.first.iter().take(SHOWN).map(|call| call_line(call).trim_end().to_owned()).collect();
    if preview.calls > SHOWN as u64 {
        notes.push(format!("and {} more", preview.calls - SHOWN as u64));
    }
    match consent(
        &format!("{}: {} calls of market {}?", preview.action, preview.calls, preview.market),
        &notes,
        args.yes,
    )? {
        Consent::Given => finish(&desk.follow(&Order { preview: false, ..order }, &who()).await?, args.json),
        Consent::Refused => {
            print_to_stderr("nothing was changed");
            Ok(FAILURE.into())
        }
        Consent::Unasked => {
            print_to_stderr(
                "state-tracker: there is no terminal to ask; look with --dry-run, then repeat with --yes",
            );
            Ok(USAGE.into())
        }
    }
}

fn finish(done: &Done, json: bool) -> Result<ExitCode> {
    if json {
        print(&format!("{:#}\n", serde_json::to_value(done)?))?;
        return Ok(SUCCESS.into());
    }
    let would = if done.preview { "would be done" } else { "done" };
    let mut text =
        format!("market {}: {}: {would}, {} calls\n", done.market, escaped(&done.action), done.calls);
    done.first.iter().for_each(|call| text += &call_line(call));
    print(&text)?;
    Ok(SUCCESS.into())
}
