//! Reading submissions, readable and unreadable ones.

use domain::chain::{Window, WindowState};
use store_redis::ErrorKind;

use crate::scene::{Chain, MARKET, arranged, collected, released};

#[tokio::test]
async fn a_window_that_can_not_be_is_an_error_that_names_it_and_fills_no_memory() {
    let chain = Chain::new().await;
    chain.accept(17, 0, vec![released(MARKET, 7, 5)]).await;
    let closed = chain.closed(MARKET).await.pop().expect("one is closed");
    for block in [4, 1_000_005, u64::MAX] {
        let window = Window { state: WindowState::Closed { block }, ..closed.window };
        let mut session = chain.session().await;
        let read = chain.chain.inputs(&mut session, closed.market, 7, &window).await;
        let error = read.expect_err("refused");
        assert_eq!(error.kind, ErrorKind::Malformed);
        assert!(
            error.to_string().contains(&format!("the window of epoch 7 has the blocks 5 to {block}")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_can_not_be_read_is_told_and_the_rest_goes_on() {
    let mut chain = Chain::new().await;
    chain.accept(4, 0, vec![]).await;
    chain.accept(17, 0, vec![released(MARKET, 7, 5)]).await;
    chain.submit(MARKET, 7, 6, 0, &[("a", 1), ("b", 2)]).await;
    chain.submit(MARKET, 7, 9, 0, &[("a", 3)]).await;
    chain.submit(MARKET, 7, 10, 0, &[("lost", 4)]).await;
    chain.scene.run::<()>("SADD", &[collected(MARKET, 7, 6, 0), "not.a.submission".to_owned()]).await;
    chain.scene.run::<()>("SET", &[collected(MARKET, 7, 8, 0), "no set".to_owned()]).await;
    chain.scene.run::<()>("DEL", "BlockHashByNumberKey.10").await;
    let closed = chain.closed(MARKET).await.pop().expect("one is closed");
    let inputs = chain.inputs(&closed).await;
    assert_eq!(inputs.missing, [10]);
    let faults: Vec<_> = inputs.faults.iter().map(|fault| (&*fault.key, fault.kind)).collect();
    assert_eq!(faults, [(&*collected(MARKET, 7, 8, 0), ErrorKind::WrongType)]);
    let arrangement = arranged(&closed, inputs, 10);
    let projects: Vec<&String> = arrangement.batches.iter().flat_map(|batch| batch.keys()).collect();
    assert_eq!(projects, ["a", "b"]);
    assert_eq!(arrangement.slots.into_iter().collect::<Vec<_>>(), [(1, 1), (2, 1), (3, 1)]);
    assert_eq!(arrangement.bad.len(), 1);
}
