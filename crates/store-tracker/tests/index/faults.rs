//! The index through crashes, with foreign keys, and with minimal rights.

use store_redis::{ErrorKind, Store};
use store_tracker::{IndexPart, Indexed};

use crate::common::{MARKET, PROTOCOL, settings};
use crate::scene::{Indexing, NOW, apply, life, texts};

#[tokio::test]
async fn a_crash_between_the_state_and_its_sets_is_made_good_by_the_second_delivery() {
    let mut scene = Indexing::plain().await;
    let events = life();
    scene.hear(NOW, &texts(&events)).await;
    let whole = scene.dump().await;
    for lost in ["completed:epochs", "active:submissions", "rejected:submissions", "online:validators"] {
        scene.scene.del(&[lost.to_owned()]).await;
    }
    // After a crash: the sets still have the old state.
    scene.scene.run::<()>("SADD", &["active:epochs", "7"]).await;
    scene.hear(NOW, &texts(&events)).await;
    assert_eq!(scene.dump().await, whole);
}

#[tokio::test]
async fn a_key_of_the_wrong_type_is_reported_and_every_other_key_is_written() {
    let events = life();
    let whole = {
        let mut scene = Indexing::plain().await;
        scene.hear(NOW, &texts(&events)).await;
        scene.dump().await
    };
    for spoilt in whole.keys() {
        let mut scene = Indexing::plain().await;
        scene.scene.spoil(spoilt).await;
        let indexed = scene.hear(NOW, &texts(&events)).await;
        // Without the count of a kind nothing of the kind is admitted.
        let counts = ["metrics:epochs:by_time", "metrics:submissions:by_time", "validators:last_seen"];
        let by_count = counts.contains(&spoilt.as_str());
        let wrong = |fault: &store_redis::Fault| fault.kind == ErrorKind::WrongType && fault.key == *spoilt;
        assert!(indexed.faults.iter().any(wrong), "{spoilt}: {:?}", indexed.faults);
        assert!(indexed.faults.iter().all(wrong), "{spoilt}: {:?}", indexed.faults);
        let dump = scene.dump().await;
        let differs: Vec<&String> = whole.keys().filter(|key| dump.get(*key) != whole.get(*key)).collect();
        // Without its state hash an entity is in no set of states; counts follow their sets.
        let follows = |key: &String| {
            let of_state = ["epochs", "submissions", "validators"].iter().any(|kind| {
                spoilt.starts_with("state:") && key.split_once(':').is_some_and(|(_, last)| last == *kind)
            });
            let counts = spoilt.starts_with("validator") && key.ends_with(":stats");
            let state = spoilt.starts_with("state:validator") && key.ends_with(":stats");
            // The hash of an epoch limits how many validators the epoch names.
            let links = spoilt.starts_with("state:epoch")
                && (key.ends_with(":validators") || key.starts_with("validator:"));
            key == spoilt || of_state || counts || state || links
        };
        assert!(
            by_count || differs.iter().all(|key| follows(key)),
            "{spoilt} kept {differs:?} from being written"
        );
        // The same with the pruner: all other keys are removed.
        let mut session = scene.session().await;
        for part in IndexPart::ALL {
            scene.index.forget(&mut session, part, NOW + 1, 100).await.expect("forgotten");
        }
        scene.index.forget_validators(&mut session, 0, NOW + 1, 100).await.expect("forgotten");
        scene.index.age_validators(&mut session, 0, 100, NOW).await.expect("aged");
    }
    assert!(whole.len() > 25, "{:?}", whole.keys());
}

#[tokio::test]
async fn a_state_that_is_none_is_reported_and_not_overwritten() {
    let mut scene = Indexing::plain().await;
    scene.scene.run::<()>("HSET", &["state:epoch:7", "state", "dancing"]).await;
    let indexed = scene.hear(NOW, &["epoch:open:7", "epoch:open:8"]).await;
    let [fault] = indexed.faults.as_slice() else { panic!("{:?}", indexed.faults) };
    assert_eq!((fault.key.as_str(), fault.kind), ("state:epoch:7", ErrorKind::Malformed));
    assert_eq!(scene.field("state:epoch:7", "state").await.as_deref(), Some("dancing"));
    assert_eq!(scene.members("active:epochs").await, ["8"]);
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_costs_no_event() {
    let mut scene = Indexing::plain().await;
    scene.hear(NOW, &["epoch:open:1"]).await;
    scene.scene.run::<()>("SCRIPT", "FLUSH").await;
    assert_eq!(scene.hear(NOW, &["epoch:closed:1", "batch:validator:v:1"]).await, Indexed::default());
    assert_eq!(scene.field("state:epoch:1", "state").await.as_deref(), Some("finalizing"));
    assert_eq!(scene.members("active:validators").await, ["v"]);
}

#[tokio::test]
async fn the_documented_rights_are_enough_for_an_index_and_its_pruning() {
    let plain = "~metrics:*:by_time ~epoch:* ~validator:* ~validators:* ~project:* ~snapshotter:* ~state:* \
                 ~*:epochs ~*:submissions ~*:validators";
    let of_market = format!("~{PROTOCOL}:{MARKET}:* ~{{{PROTOCOL}:{MARKET}}}:tracker:*");
    for (mut scene, keys) in [(Indexing::plain().await, plain), (Indexing::of_market().await, &of_market)] {
        let rules = format!(
            "SETUSER tracker on >secret {keys} +@read +@write +@connection +@scripting +@transaction +@pubsub -@dangerous"
        );
        scene.scene.run::<()>("ACL", rules.split_whitespace().collect::<Vec<_>>()).await;
        let mut settings = settings(scene.scene.redis.addr());
        let store_redis::Servers::Single(server) = settings.servers else { panic!("one server") };
        let login = server.redis_settings().clone().set_username("tracker").set_password("secret");
        settings.servers = server.set_redis_settings(login).into();
        let store = Store::new(settings).expect("settings");
        let events = life();
        assert_eq!(apply(&store, &scene.index, NOW, &texts(&events)).await, Indexed::default());
        let mut session =
            store.session(store_redis::Operation::new("test", "test")).await.expect("a session");
        scene.index.age_validators(&mut session, 0, 100, NOW + 700).await.expect("aged");
        for part in IndexPart::ALL {
            let (_, faults) = scene.index.forget(&mut session, part, NOW + 1, 100).await.expect("forgotten");
            assert_eq!(faults, Vec::new());
        }
        scene.index.forget_validators(&mut session, 0, NOW + 1, 100).await.expect("forgotten");
        assert_eq!(scene.keys().await, Vec::<String>::new());
    }
}
