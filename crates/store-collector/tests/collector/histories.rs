//! Random histories: the state is read as it was written, and a reorganisation leaves nothing of the dropped blocks.

use testkit::{Dice, contents::Contents};

use crate::scene::{Chain, MARKET, OTHER, released};

/// What other programs see, and what is known: without the inputs, and without what tells of the way by which it came to be so.
fn shown(contents: Contents) -> Contents {
    let ours = |key: &String| key.starts_with("tracker:chain:undo") || key.starts_with("SnapshotCollector.");
    let is_version = |key: &String| key.starts_with("tracker:chain:") && key.ends_with(":version");
    contents.into_iter().filter(|(key, _)| !ours(key) && !is_version(key)).collect()
}

#[tokio::test]
async fn any_history_is_read_as_it_was_written_and_ends_as_the_straight_one() {
    for seed in 0..12 {
        let (mut dice, mut crooked, mut straight) = (Dice::new(seed), Chain::new().await, Chain::new().await);
        crooked.accept(3, 0, vec![]).await;
        straight.accept(3, 0, vec![]).await;
        let (mut height, mut epoch) = (3, 10);
        for step in 1..12 {
            let to = height + 1 + dice.roll(8);
            let kept: Vec<_> = (0..dice.roll(3))
                .map(|one| {
                    let of = if dice.roll(2) == 0 { MARKET } else { OTHER };
                    released(of, epoch + one, height + 1 + dice.roll(to - height))
                })
                .collect();
            epoch += 3;
            let mut kept = kept;
            kept.sort_by_key(|(block, _)| *block);
            if dice.roll(2) == 0 {
                // Another branch first, which is dropped.
                let dropped = height + 1 + dice.roll(10);
                let event = released(MARKET, epoch + 100, height + 1);
                crooked.accept(dropped, 100 + step, vec![event]).await;
                crooked.undo(height).await;
            }
            crooked.accept(to, step, kept.clone()).await;
            straight.accept(to, step, kept).await;
            height = to;
            // Always the same at the same block, in whatever way it was reached.
            if dice.roll(3) == 0 {
                crooked.hand_over_all().await;
                straight.hand_over_all().await;
            }
        }
        assert_eq!(shown(crooked.contents().await), shown(straight.contents().await), "seed {seed}");
    }
}
