//! The namespace as Socket.IO sees it: who may come in, and where each event of a client goes.

use std::{collections::BTreeMap, sync::Arc};

use access_tokens::{Identity, TokenError};
use serde_json::Value;
use socket_io::{Application, ConnectRequest, Connection, Ending, Event, Refusal, secret};

use crate::{
    answers::refusal,
    client::{Client, State},
    counts::count,
    encode::NAMESPACE,
    event::SavedSession,
    expiry::Stage,
    handlers,
    recovery::Recovery,
    shared::Shared,
    sources::{Campaigns, EventLog},
    users::Place,
};

/// The characters of the secrets that we give; others are not looked up.
const SECRET_CHARACTERS: usize = 20;

/// The namespace.
pub(crate) struct Namespace<C, L>(pub(crate) Arc<Shared<C, L>>);

impl<C: Campaigns, L: EventLog> Application for Namespace<C, L> {
    type Client = Client;

    fn namespace(&self) -> &str {
        NAMESPACE
    }

    async fn connect(
        &self,
        connection: &Arc<Connection<Client>>,
        request: ConnectRequest,
    ) -> Result<(), Refusal> {
        let token = token_of(&request);
        let identity = match self.0.verifier.verify(&token).await {
            Ok(identity) => identity,
            Err(error) => {
                count(&self.0.counters.connects_refused);
                return Err(refused_token(&error));
            }
        };
        let place = self.0.users.enter(&identity.user, self.0.clock.now()).map_err(|after| {
            count(&self.0.counters.connects_limited);
            // Less than a minute.
            refusal("Too many connections", "too_many_connections", Some(after.as_millis() as u64))
        })?;
        match self.saved(&request.auth, &identity).await {
            Some((secret, saved, offset)) => {
                match Recovery::begin(&self.0, connection, &saved, offset).await {
                    Some(recovery) => {
                        count(&self.0.counters.recovered);
                        let client = self.client(place, secret.clone(), &identity, Some(&saved));
                        // Where the connection has ended meanwhile, the client leaves its rooms again.
                        if self.welcome(connection, client, &secret) {
                            self.0.run(recovery.replay()).await;
                        }
                        Ok(())
                    }
                    None => {
                        count(&self.0.counters.not_recovered);
                        connection.drop_held();
                        self.enter(connection, place, &identity)
                    }
                }
            }
            None => self.enter(connection, place, &identity),
        }
    }

    async fn event(&self, connection: &Arc<Connection<Client>>, event: Event) {
        if let Some(client) = connection.client() {
            handlers::handle(&self.0, connection, client, event).await;
        }
    }

    fn ended(&self, connection: &Arc<Connection<Client>>, _: Ending) {
        let Some(client) = connection.client() else { return };
        let (rooms, is_saved): (Vec<_>, bool) = {
            let state = client.state();
            (state.rooms.keys().copied().collect(), state.is_saved)
        };
        self.0.rooms.leave(rooms, connection);
        if is_saved {
            self.0.note_left(client.secret.clone());
        }
    }
}

impl<C: Campaigns, L: EventLog> Namespace<C, L> {
    /// Lets a client in that does not come back.
    fn enter(
        &self,
        connection: &Arc<Connection<Client>>,
        place: Place,
        identity: &Identity,
    ) -> Result<(), Refusal> {
        let Some(secret) = secret() else {
            return Err(refusal("Service unavailable", "unavailable", Some(1_000)));
        };
        self.welcome(connection, self.client(place, secret.clone(), identity, None), &secret);
        Ok(())
    }

    fn welcome(&self, connection: &Arc<Connection<Client>>, client: Client, secret: &str) -> bool {
        let is_in = connection.welcome(NAMESPACE, client, Some(secret));
        if is_in {
            count(&self.0.counters.connects);
        }
        is_in
    }

    fn client(
        &self,
        place: Place,
        secret: String,
        identity: &Identity,
        saved: Option<&SavedSession>,
    ) -> Client {
        let rooms: BTreeMap<_, _> =
            saved.map(|saved| saved.rooms.iter().copied().collect()).unwrap_or_default();
        let state = State {
            expires: identity.expires,
            stage: Stage::Valid,
            rooms,
            // What is kept of a client that came back has only the time left that it had.
            kept: self.0.clock.now(),
            is_saved: saved.is_some(),
            has_lost_rooms: false,
        };
        Client::new(place, secret, saved.is_some(), state)
    }

    /// What is kept of a client that presents a secret of ours, and how far it was.
    async fn saved(&self, auth: &Value, identity: &Identity) -> Option<(String, SavedSession, u64)> {
        let secret = auth.get("pid")?.as_str().filter(|secret| secret.len() == SECRET_CHARACTERS)?;
        // None where it got nothing with an offset: then the positions at which it joined count.
        let offset = match auth.get("offset").and_then(Value::as_str) {
            Some(offset) => offset.parse().ok()?,
            None => 0,
        };
        let saved = self.0.ask("read what is kept of a client", self.0.log.session(secret)).await;
        let saved = saved.ok().flatten();
        match saved.filter(|saved| *saved.user == *identity.user) {
            Some(saved) => {
                // It was kept for a client that is away: from now on it is here.
                let life = self.0.settings.session_life();
                let secrets = [secret.to_owned()];
                let kept = self.0.log.keep_sessions(&secrets, life);
                self.0.ask("keep what is known of a client", kept).await.ok()?;
                Some((secret.to_owned(), saved, offset))
            }
            None => {
                count(&self.0.counters.not_recovered);
                None
            }
        }
    }
}

/// The token that a client presents: in the query of its URL, else in its packet.
fn token_of(request: &ConnectRequest) -> String {
    let in_query = request.query_value("token").filter(|token| !token.is_empty());
    let in_packet = || request.auth.get("token").and_then(Value::as_str).unwrap_or_default().to_owned();
    let token = in_query.unwrap_or_else(in_packet);
    // Some clients send it as they would in a header.
    token.strip_prefix("Bearer ").map(str::to_owned).unwrap_or(token)
}

fn refused_token(error: &TokenError) -> Refusal {
    match error {
        TokenError::Missing => refusal("Authentication required", "missing_token", None),
        TokenError::Expired => refusal("Token expired", "expired_token", None),
        error if error.is_temporary() => {
            refusal("Authentication unavailable", "authentication_unavailable", Some(5_000))
        }
        _ => refusal("Invalid token", "invalid_token", None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_token_of_the_url_counts_before_that_of_the_packet() {
        let token = |query: &str, auth: Value| token_of(&ConnectRequest { auth, query: query.into() });
        assert_eq!(token("EIO=4&token=a%2Bb&x=1", json!({ "token": "c" })), "a+b");
        assert_eq!(token("EIO=4&token=", json!({ "token": "Bearer c" })), "c");
        assert_eq!(token("", json!({ "token": 1 })), "");
        assert_eq!(token("", Value::Null), "");
    }
}
