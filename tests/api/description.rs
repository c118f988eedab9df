//! The description, and the page that shows it.

use std::collections::BTreeSet;

use state_tracker::api::ENDPOINTS;

use crate::client::{Scene, ask};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_description_has_every_path_and_names_the_host_of_clients() {
    let scene = Scene::with(&[("API_HOST", "api.example.org")]).await;
    let described = ask(scene.port, "GET", "/openapi.json", &[], "").await;
    assert_eq!(described.header("content-type"), Some("application/json"));
    assert_eq!(ask(scene.port, "GET", "/swagger/doc.json", &[], "").await.body, described.body);
    let described = described.json();
    assert_eq!(described["servers"][0]["url"], "https://api.example.org");
    let paths: BTreeSet<&str> =
        described["paths"].as_object().expect("paths").keys().map(String::as_str).collect();
    let expected: BTreeSet<&str> = ENDPOINTS
        .iter()
        .filter(|endpoint| !endpoint.request.is_empty())
        .map(|endpoint| endpoint.path)
        .collect();
    assert_eq!((paths.len(), &paths), (12, &expected));
    let schemas = &described["components"]["schemas"];
    for endpoint in ENDPOINTS.iter().filter(|endpoint| !endpoint.request.is_empty()) {
        let post = &described["paths"][endpoint.path]["post"];
        let schema = post["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
        let schema = &schemas[schema.and_then(|name| name.rsplit('/').next()).expect("a name")];
        let fields: BTreeSet<String> =
            schema["properties"].as_object().expect("fields").keys().cloned().collect();
        let request = endpoint.request.split(", ").map(|field| field.trim_matches('`').to_owned());
        let own = ["token".to_owned(), "dataMarketAddress".to_owned()];
        assert_eq!(fields, request.chain(own).collect(), "{}", endpoint.path);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_asks_no_other_server_and_runs_no_script_but_its_own() {
    let scene = Scene::new().await;
    let page = ask(scene.port, "GET", "/swagger/", &[], "").await;
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(
        policy.starts_with("default-src 'none'") && !policy.contains("unsafe") && !policy.contains("http")
    );
    let mut parts = vec![page];
    for (part, kind) in [("page.js", "text/javascript"), ("page.css", "text/css")] {
        assert!(parts[0].body.contains(&format!("\"{part}\"")), "{part}");
        let part = ask(scene.port, "GET", &format!("/swagger/{part}"), &[], "").await;
        assert!(part.header("content-type").is_some_and(|of| of.starts_with(kind)), "{}", part.head);
        parts.push(part);
    }
    for part in parts {
        assert_eq!(part.status, 200);
        assert!(
            !part.body.contains("://") && !part.body.contains("innerHTML") && !part.body.contains("eval(")
        );
    }
    assert_eq!(ask(scene.port, "POST", "/swagger/", &[], "").await.refusal().0, 405);
}
