//! The gateway's actor: serves clients of Socket.IO at its port.
//!
//! It touches the port; the log and the database by what the gateway asks of them. Promises: its port outlives its crashes, so clients
//! connect again and find their rooms and what they missed; a database or a Redis that is away ends no connection.

use std::sync::Arc;

use campaign_gateway::{Gateway, Pages};
use ports::Tls;
use supervision::{Context, Failure, Worker};
use tokio::net::TcpListener;

use super::{log::GatewayLog, points, shared::Campaigns};

/// The gateway of campaigns.
pub type CampaignGateway = Gateway<Campaigns, GatewayLog>;

/// The actor.
pub struct GatewayWorker<P> {
    gateway: Arc<CampaignGateway>,
    // Kept here, so that a worker that is started again serves the same port.
    listener: Arc<std::net::TcpListener>,
    tls: Option<Tls>,
    pages: P,
}

impl<P> GatewayWorker<P> {
    /// The actor that serves this gateway and these pages at this port.
    #[must_use]
    pub fn new(
        gateway: Arc<CampaignGateway>,
        listener: Arc<std::net::TcpListener>,
        tls: Option<Tls>,
        pages: P,
    ) -> Self {
        Self { gateway, listener, tls, pages }
    }
}

impl<P: Pages + Clone> Worker for GatewayWorker<P> {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        let listener = TcpListener::from_std(self.listener.try_clone()?)?;
        points::GATEWAY_BEFORE_SERVE.pass().await?;
        let served = self.gateway.serve(listener, self.tls.clone(), self.pages.clone(), cx.stop_token());
        // Boxed: its state is large, and each future around it would be as large. It waits for clients: to have none is no stall.
        cx.idle(Box::pin(served)).await;
        Ok(())
    }
}
