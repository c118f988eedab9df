//! The example page on a port of the demo, with the address of the gateway and a token, so that a browser shows the campaigns at
//! once.

use std::net::{Ipv4Addr, SocketAddr};

use axum::{
    Router,
    response::{Html, Redirect},
    routing::get,
};
use color_eyre::eyre::{Result, WrapErr};
use testkit::campaigns::CampaignWorld;
use tokio::{net::TcpListener, task::JoinSet};

use super::token::token;
use crate::{pages, simulate::unix_now};

const PAGE: &str = include_str!("../../../examples/campaigns/index.html");
const CLIENT: &str = include_str!("../../../examples/campaigns/socket.io.min.js");

/// Opens the port, and serves until the tasks end.
pub(super) async fn open(gateway: SocketAddr, tasks: &mut JoinSet<()>) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.wrap_err("the demo needs a port for the page of campaigns")?;
    let address = listener.local_addr()?;
    let campaign = CampaignWorld::campaigns().next().unwrap_or_default();
    // Made for each visit, since a token expires.
    let start = move || async move {
        let token = token(unix_now());
        Redirect::to(&format!("/index.html#url=http://{gateway}/campaigns&token={token}&campaign={campaign}"))
    };
    let router = Router::new()
        .route("/", get(start))
        .route("/index.html", get(async || Html(PAGE)))
        .route("/socket.io.min.js", get(async || pages::script(CLIENT)))
        .route("/token", get(async || token(unix_now())));
    tasks.spawn(async move {
        // It only returns where the listener fails, and then the page is away and the demo goes on.
        let _ = axum::serve(listener, router).await;
    });
    Ok(address)
}
