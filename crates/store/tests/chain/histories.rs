//! Random histories: what is written is what is read, and a reorganisation leaves nothing of what was dropped.

use std::collections::BTreeMap;

use crate::scene::{Chain, MARKET, Numbers, OTHER, released};

/// What others see, without what only we keep and without the inputs.
fn shown(contents: BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    let ours = |key: &String| key.starts_with("tracker:chain:deeds") || key.starts_with("SnapshotCollector.");
    contents.into_iter().filter(|(key, _)| !ours(key)).collect()
}

#[tokio::test]
async fn any_history_is_read_as_it_was_written_and_ends_as_the_straight_one() {
    for seed in 0..12 {
        let (mut numbers, mut crooked, mut straight) =
            (Numbers(seed), Chain::new().await, Chain::new().await);
        crooked.accept(3, 0, vec![]).await;
        straight.accept(3, 0, vec![]).await;
        let (mut height, mut epoch) = (3, 10);
        for step in 1..12 {
            let to = height + 1 + numbers.below(8);
            let kept: Vec<_> = (0..numbers.below(3))
                .map(|one| {
                    let of = if numbers.below(2) == 0 { MARKET } else { OTHER };
                    released(of, epoch + one, height + 1 + numbers.below(to - height))
                })
                .collect();
            epoch += 3;
            let mut kept = kept;
            kept.sort_by_key(|(block, _)| *block);
            if numbers.below(2) == 0 {
                // Another branch first, which is dropped.
                let dropped = height + 1 + numbers.below(10);
                let event = released(MARKET, epoch + 100, height + 1);
                crooked.accept(dropped, 100 + step, vec![event]).await;
                crooked.undo(height).await;
            }
            crooked.accept(to, step, kept.clone()).await;
            straight.accept(to, step, kept).await;
            height = to;
            // Always the same at the same place, whoever comes there how.
            if numbers.below(3) == 0 {
                crooked.hand_over_all().await;
                straight.hand_over_all().await;
            }
        }
        assert_eq!(shown(crooked.contents().await), shown(straight.contents().await), "seed {seed}");
    }
}
