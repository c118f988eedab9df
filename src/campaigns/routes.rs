//! The paths of the port, for the reference. `requests` reads them; a test holds both together. Pure.

/// A path of the port.
pub struct CampaignEndpoint {
    /// Its method; `HEAD` is allowed where `GET` is.
    pub method: &'static str,
    /// The path, with `{id}` for the id of a campaign.
    pub path: &'static str,
    /// The setting whose token it asks for; empty for none.
    pub token: &'static str,
    /// What it answers.
    pub answer: &'static str,
}

/// Every path beside `/socket.io/`.
pub static ENDPOINTS: &[CampaignEndpoint] = &[
    CampaignEndpoint {
        method: "GET",
        path: "/health/live",
        token: "",
        answer: "200 while the process runs; `/health` and `/livez` are the same",
    },
    CampaignEndpoint {
        method: "GET",
        path: "/health/ready",
        token: "",
        answer: "200, or 503, with the conditions of campaigns; `/readyz` is the same",
    },
    CampaignEndpoint {
        method: "POST",
        path: "/campaigns/{id}/broadcast",
        token: "campaigns.service_token",
        answer: "Sends the latest status of each run to the room of the campaign again; the ids of the events",
    },
    CampaignEndpoint {
        method: "GET",
        path: "/campaigns/{id}/history?from=&to=&limit=&after=",
        token: "campaigns.service_token",
        answer: "The summaries that the campaign's runs had, a page at a time; the token of the campaign's owner opens it too",
    },
];

#[cfg(test)]
mod tests {
    use axum::http::{Request, request::Parts};

    use super::super::requests::{Asked, asked};
    use super::*;

    const ID: &str = "3f0c8a54-7a0e-4c39-b6a1-0d8f0f4d6f11";

    fn head(method: &str, path: &str) -> Parts {
        let request = Request::builder().method(method).uri(path.replace("{id}", ID)).body(());
        request.expect("a request").into_parts().0
    }

    /// The row of what can be asked for. A variant that is added gets a row, or no test compiles.
    fn path_of(asked: &Asked) -> Option<&'static str> {
        match asked {
            Asked::Live => Some("/health/live"),
            Asked::Ready => Some("/health/ready"),
            Asked::Broadcast(_) => Some("/campaigns/{id}/broadcast"),
            Asked::History(_) => Some("/campaigns/{id}/history?from=&to=&limit=&after="),
            Asked::Preflight | Asked::WrongMethod(_) | Asked::Nothing => None,
        }
    }

    #[test]
    fn each_row_is_answered_by_its_method_alone_and_each_thing_to_ask_for_has_a_row() {
        for endpoint in ENDPOINTS {
            let served = asked(&head(endpoint.method, endpoint.path));
            assert_eq!(path_of(&served), Some(endpoint.path));
            let other = if endpoint.method == "GET" { "POST" } else { "GET" };
            assert!(matches!(asked(&head(other, endpoint.path)), Asked::WrongMethod(_)), "{}", endpoint.path);
        }
        let id = || Ok(ID.parse().expect("an id"));
        for all in [Asked::Live, Asked::Ready, Asked::Broadcast(id()), Asked::History(id())] {
            let path = path_of(&all).expect("a path");
            assert!(ENDPOINTS.iter().any(|endpoint| endpoint.path == path), "{path} has no row");
        }
        // The other names that the answers mention.
        for (path, same) in [("/health", Asked::Live), ("/livez", Asked::Live), ("/readyz", Asked::Ready)] {
            assert_eq!(asked(&head("GET", path)), same, "{path}");
        }
    }
}
